// A row of marks with their names below: as wide as there is room, and looked at one by one, by pointer, finger or
// keyboard. What the marks look like, charts say.

import { type KeyboardEvent, type PointerEvent, type ReactNode, useLayoutEffect, useRef, useState } from "react";

interface Frame {
  left: number;
  right: number;
}

// Where marks are drawn, and which of them is looked at, if any.
export interface Marks {
  at: number | null;
  width: number;
  // Each mark has so much of the width.
  slot: number;
  // The middle of a mark.
  x: (i: number) => number;
}

interface PlotProps {
  // What a mark says when it is looked at; how many there are.
  told: string[];
  // What stands below a mark, where there is room.
  name: (i: number) => string;
  height: number;
  label: string;
  frame?: Frame;
  // Whether the marks are points of a line, from edge to edge; else each fills a part of the width.
  isLine?: boolean;
  onOpen?: (i: number) => void;
  leads?: (i: number) => boolean;
  // What stands above.
  head: (at: number | null) => ReactNode;
  draw: (marks: Marks) => ReactNode;
}

const NO_FRAME = { left: 0, right: 0 };
// A name takes so much room.
const NAME_WIDTH = 115;

export function Plot({ told, name, height, label, frame = NO_FRAME, isLine = false, onOpen, leads, head, draw }: PlotProps) {
  const [box, width] = useWidth<HTMLDivElement>();
  const n = told.length;
  const room = Math.max(1, width - frame.left - frame.right);
  const slot = room / Math.max(1, isLine ? n - 1 : n);
  const first = frame.left + (isLine ? 0 : slot / 2);
  const x = (i: number) => first + i * slot;
  const { at, isTold, handlers } = useCursor(n, (px) => Math.round((px - first) / slot), onOpen);
  return (
    <>
      {head(at)}
      <div ref={box} className={at !== null && leads?.(at) ? "plot leads" : "plot"} tabIndex={0} role="group" aria-label={label} {...handlers}>
        <svg width={width} height={height} aria-hidden="true">
          {width > 0 && (
            <>
              {draw({ at, width, slot, x })}
              {labelled(n, room, NAME_WIDTH).map((i) => (
                <text key={i} x={i === n - 1 ? width - frame.right : x(i)} y={height - 5} className={i === n - 1 ? "axis end" : "axis middle"}>
                  {name(i)}
                </text>
              ))}
            </>
          )}
        </svg>
      </div>
      <p className="sr" role="status">
        {isTold && at !== null ? told[at] : ""}
      </p>
    </>
  );
}

// The width of an element in pixels, so that what is drawn in it is drawn as large as it is seen.
function useWidth<E extends HTMLElement>() {
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

// Which of `n` marks is looked at, or none; `nearest` says which one is nearest to a place.
function useCursor(n: number, nearest: (px: number) => number, onOpen?: (at: number) => void) {
  const [at, setAt] = useState<number | null>(null);
  const [isTold, setTold] = useState(false);
  const markAt = (event: PointerEvent<HTMLElement>) => {
    const at = nearest(event.clientX - event.currentTarget.getBoundingClientRect().left);
    return Math.min(n - 1, Math.max(0, at));
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
function labelled(n: number, width: number, room: number): number[] {
  if (n === 0) return [];
  const most = Math.max(1, Math.min(n, Math.floor(width / room)));
  const step = Math.max(1, Math.ceil((n - 1) / most));
  const found: number[] = [];
  for (let i = n - 1; i >= 0; i -= step) found.unshift(i);
  return found;
}
