// Server-sent events, for as long as the page can be seen: a browser opens only a few connections to one server, and
// pages in the background must not use them up.

export function listen(path: string, wire: (source: EventSource) => void, onReturn?: () => void): () => void {
  let source: EventSource | null = null;
  const close = () => {
    source?.close();
    source = null;
  };
  const follow = () => {
    if (document.hidden) close();
    else if (!source) {
      source = new EventSource(`/api/v1${path}`);
      wire(source);
    }
  };
  const turn = () => {
    const isReturn = !document.hidden && !source;
    follow();
    if (isReturn) onReturn?.();
  };
  follow();
  document.addEventListener("visibilitychange", turn);
  return () => {
    document.removeEventListener("visibilitychange", turn);
    close();
  };
}
