// The last days of a VM, wide: each day has the mark of its outcome, can be looked at, and leads to its run.

import type { Outcome, StripDay } from "../api";
import { day } from "../format";
import { labelled, useCursor, useWidth } from "./plot";
import { OUTCOMES, stripWords } from "./status";

const HEIGHT = 62;
const MARK = 40;
const NO_FRAME = { left: 0, right: 0 };

// Every outcome has a shape of its own, as in the small strip.
function shape(outcome: Outcome, x: number, w: number): [string, string] {
  const right = x + w;
  if (outcome === "warning") return [`M${x} 16H${right}V${MARK}H${x}zM${x} 2H${right}v9H${x}z`, "o-warning"];
  if (outcome === "missed") return [`M${x + 0.75} 2.750H${right - 0.75}V${MARK - 0.75}H${x + 0.75}z`, "o-missed"];
  if (outcome === "none") return [`M${x} ${MARK - 3}H${right}V${MARK}H${x}z`, "o-none"];
  return [`M${x} 2H${right}V${MARK}H${x}z`, outcome === "failed" ? "o-failed" : "o-good"];
}

export function Timeline({ strip, onDay }: { strip: StripDay[]; onDay: (day: StripDay) => void }) {
  const [box, width] = useWidth<HTMLDivElement>();
  const cursor = useCursor(strip.length, width, NO_FRAME, (i) => onDay(strip[i]));
  const slot = width / Math.max(1, strip.length);
  const gap = Math.min(4, slot * 0.2);
  const told = (i: number) => `${day(strip[i].day)}: ${OUTCOMES[strip[i].outcome]}`;
  const { at } = cursor;
  const last = strip.length - 1;
  return (
    <div className="timeline">
      <p className="told">
        <span className="figure">{at !== null ? told(at) : stripWords(strip)}</span>
        {at !== null && strip[at].run_id && <span className="muted">opens the run</span>}
      </p>
      <div
        ref={box}
        className={at !== null && strip[at].run_id ? "plot leads" : "plot"}
        tabIndex={0}
        role="group"
        aria-label={`${stripWords(strip)}. The arrow keys go from day to day, Enter opens its run.`}
        {...cursor.handlers}
      >
        {width > 0 && (
          <svg width={width} height={HEIGHT} aria-hidden="true">
            {at !== null && <path d={`M${at * slot} 0h${slot}V${MARK + 3}h-${slot}z`} className="spot" />}
            {strip.map(({ outcome }, i) => {
              const x = i * slot + gap / 2;
              const w = slot - gap;
              const [d, className] = shape(outcome, x, w);
              const middle = x + w / 2;
              return (
                <g key={strip[i].day}>
                  <path d={d} className={className} />
                  {outcome === "failed" && <path d={`M${middle - 3.5} 17.500l7 7m0-7l-7 7`} className="o-cross" />}
                </g>
              );
            })}
            {labelled(strip.length, width, 115).map((i) => (
              <text key={i} x={i === last ? width : (i + 0.5) * slot} y={HEIGHT - 5} className={i === last ? "axis end" : "axis middle"}>
                {i === last ? "today" : day(strip[i].day)}
              </text>
            ))}
          </svg>
        )}
      </div>
      <p className="sr" role="status">
        {cursor.isTold && at !== null ? told(at) : ""}
      </p>
    </div>
  );
}
