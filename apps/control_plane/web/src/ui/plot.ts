// What charts share: how wide they are drawn, and which of their marks is looked at, by pointer, finger or keyboard.

import { type KeyboardEvent, type PointerEvent, useLayoutEffect, useRef, useState } from "react";

export interface Frame {
  left: number;
  right: number;
}

// The width of an element in pixels, so that what is drawn in it is drawn as large as it is seen.
export function useWidth<E extends HTMLElement>() {
  const box = useRef<E>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setWidth(Math.floor(element.clientWidth));
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  return [box, width] as const;
}

// Which of `n` marks is looked at, or none. Each takes the same part of the width inside the frame.
export function useCursor(n: number, width: number, { left, right }: Frame, onOpen?: (at: number) => void) {
  const [at, setAt] = useState<number | null>(null);
  const [isTold, setTold] = useState(false);
  const markAt = (event: PointerEvent<HTMLElement>) => {
    const x = event.clientX - event.currentTarget.getBoundingClientRect().left - left;
    return Math.min(n - 1, Math.max(0, Math.floor((x / Math.max(1, width - left - right)) * n)));
  };
  const look = (event: PointerEvent<HTMLElement>) => {
    setTold(false);
    setAt(markAt(event));
  };
  const steps: Record<string, (now: number) => number> = {
    ArrowLeft: (now) => now - 1,
    ArrowRight: (now) => now + 1,
    Home: () => 0,
    End: () => n - 1,
  };
  return {
    at: at !== null && at < n ? at : null,
    // Only what the keyboard chose is read out.
    isTold,
    handlers: {
      onPointerMove: look,
      onPointerDown: look,
      onPointerLeave: () => setAt(null),
      onClick: () => at !== null && onOpen?.(at),
      onBlur: () => setAt(null),
      onKeyDown: (event: KeyboardEvent<HTMLElement>) => {
        if (event.key === "Enter" && at !== null) onOpen?.(at);
        const step = steps[event.key];
        if (!step || n === 0) return;
        event.preventDefault();
        setTold(true);
        setAt((now) => Math.min(n - 1, Math.max(0, now === null ? n - 1 : step(now))));
      },
    },
  };
}

// Which marks have their label below: so many as there is room for, evenly, the last among them.
export function labelled(n: number, width: number, room: number): number[] {
  if (n === 0) return [];
  const most = Math.max(1, Math.min(n, Math.floor(width / room)));
  const step = Math.max(1, Math.ceil((n - 1) / most));
  const found: number[] = [];
  for (let i = n - 1; i >= 0; i -= step) found.unshift(i);
  return found;
}

// Round steps of an axis from zero on, at least as high as `most`.
export function ticks(most: number, isTime: boolean): number[] {
  const step = isTime ? timeStep(most) : byteStep(most);
  const found = [0];
  while (found[found.length - 1] < most) found.push(found[found.length - 1] + step);
  return found;
}

function timeStep(seconds: number): number {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];
  return steps.find((step) => step * 3 >= seconds) ?? Math.ceil(seconds / 3 / 86_400) * 86_400;
}

function byteStep(bytes: number): number {
  let unit = 1;
  while (unit * 1024 <= bytes) unit *= 1024;
  const steps = [0.5, 1, 2, 5, 10, 20, 50, 128, 256, 512];
  return Math.max(1, (steps.find((step) => step * unit * 3 >= bytes) ?? 512) * unit);
}
