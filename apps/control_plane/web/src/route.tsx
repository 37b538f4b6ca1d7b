// Which screen an address shows: the browser's history, in a few lines.

import { type AnchorHTMLAttributes, type MouseEvent, useSyncExternalStore } from "react";

const CHANGED = "e3:address";

function listen(onChange: () => void) {
  addEventListener("popstate", onChange);
  addEventListener(CHANGED, onChange);
  return () => {
    removeEventListener("popstate", onChange);
    removeEventListener(CHANGED, onChange);
  };
}

export const usePath = () => useSyncExternalStore(listen, () => location.pathname);
const useSearch = () => useSyncExternalStore(listen, () => location.search);

export function go(to: string, replace = false) {
  const isNewPage = new URL(to, location.href).pathname !== location.pathname;
  history[replace ? "replaceState" : "pushState"](null, "", to);
  dispatchEvent(new Event(CHANGED));
  if (isNewPage) scrollTo(0, 0);
}

// One value of the address's query, and how to change it without leaving a trail in the history.
export function useQueryValue(name: string, initial = ""): [string, (value: string) => void] {
  const value = new URLSearchParams(useSearch()).get(name) ?? initial;
  return [
    value,
    (next) => {
      const query = new URLSearchParams(location.search);
      if (next === initial) query.delete(name);
      else query.set(name, next);
      const text = query.toString();
      go(location.pathname + (text && `?${text}`), true);
    },
  ];
}

// The parts that a pattern such as `/vms/:id` names, or nothing.
export function match(pattern: string, path: string): Record<string, string> | null {
  const wanted = pattern.split("/");
  const given = path.replace(/\/$/, "").split("/");
  if (wanted.length !== given.length) return null;
  const parts: Record<string, string> = {};
  for (let i = 0; i < wanted.length; i += 1) {
    if (wanted[i].startsWith(":")) parts[wanted[i].slice(1)] = decoded(given[i]);
    else if (wanted[i] !== given[i]) return null;
  }
  return parts;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    // Nothing of ours is called so; the server says it.
    return part;
  }
}

export function Link({ href, onClick, ...rest }: AnchorHTMLAttributes<HTMLAnchorElement> & { href: string }) {
  const follow = (event: MouseEvent<HTMLAnchorElement>) => {
    onClick?.(event);
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(href);
  };
  return <a href={href} onClick={follow} {...rest} />;
}
