// Server-sent events, for as long as the page can be seen: a browser opens only a few connections to one server, and
// pages in the background must not use them up.

// Browsers take up again what broke off, and give up what was refused: that is asked for again after so long.
const REFUSED_MS = 10_000;

export function listen(path: string, wire: (source: EventSource) => void, onReturn?: () => void): () => void {
  let source: EventSource | null = null;
  let again: ReturnType<typeof setTimeout> | undefined;
  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };
  const follow = () => {
    if (document.hidden) return close();
    if (source) return;
    const opened = new EventSource(`/api/v1${path}`);
    source = opened;
    opened.addEventListener("error", () => {
      if (source !== opened || opened.readyState !== EventSource.CLOSED) return;
      source = null;
      again = setTimeout(turn, REFUSED_MS);
    });
    wire(opened);
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
