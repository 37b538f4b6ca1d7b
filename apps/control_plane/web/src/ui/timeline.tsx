// The last days of a VM, wide: each day has the mark of its outcome, can be looked at, and leads to its run.

import type { Outcome, StripDay } from "../api";
import { day } from "../format";
import { Plot } from "./plot";
import { OUTCOMES, stripWords } from "./status";

const HEIGHT = 62;
const MARK = 40;

// Every outcome has a shape of its own, as in the small strip.
function shape(outcome: Outcome, x: number, w: number): [string, string] {
  const right = x + w;
  if (outcome === "warning") return [`M${x} 16H${right}V${MARK}H${x}zM${x} 2H${right}v9H${x}z`, "o-warning"];
  if (outcome === "missed") return [`M${x + 0.75} 2.750H${right - 0.75}V${MARK - 0.75}H${x + 0.75}z`, "o-missed"];
  if (outcome === "none") return [`M${x} ${MARK - 3}H${right}V${MARK}H${x}z`, "o-none"];
  return [`M${x} 2H${right}V${MARK}H${x}z`, outcome === "failed" ? "o-failed" : "o-good"];
}

export function Timeline({ strip, onDay }: { strip: StripDay[]; onDay: (day: StripDay) => void }) {
  const told = strip.map((d) => `${day(d.day)}: ${OUTCOMES[d.outcome]}`);
  const leads = (i: number) => strip[i].run_id !== null;
  return (
    <div className="timeline">
      <Plot
        told={told}
        name={(i) => (i === strip.length - 1 ? "today" : day(strip[i].day))}
        height={HEIGHT}
        label={`${stripWords(strip)}. The arrow keys go from day to day, Enter opens its run.`}
        onOpen={(i) => onDay(strip[i])}
        leads={leads}
        head={(at) => (
          <p className="told">
            <span className="figure">{at !== null ? told[at] : stripWords(strip)}</span>
            {at !== null && leads(at) && <span className="muted">opens the run</span>}
          </p>
        )}
        draw={({ at, slot, x }) => {
          const w = slot - Math.min(4, slot * 0.2);
          return (
            <>
              {at !== null && <path d={`M${at * slot} 0h${slot}V${MARK + 3}h-${slot}z`} className="spot" />}
              {strip.map(({ outcome }, i) => {
                const [d, className] = shape(outcome, x(i) - w / 2, w);
                return (
                  <g key={strip[i].day}>
                    <path d={d} className={className} />
                    {outcome === "failed" && <path d={`M${x(i) - 3.5} 17.500l7 7m0-7l-7 7`} className="o-cross" />}
                  </g>
                );
              })}
            </>
          );
        }}
      />
    </div>
  );
}
