// Charts of our own, as SVG: few marks on axes with units. What is looked at, with a pointer or with the arrow keys,
// stands above the marks as text; for screen readers there is a table.

import { labelled, ticks, useCursor, useWidth } from "./plot";

export interface Series {
  name: string;
  className: string;
  values: number[];
}

interface ChartProps {
  title: string;
  labels: string[];
  series: Series;
  show: (value: number) => string;
  kind?: "area" | "bars";
  isTime?: boolean;
  // What stands above the marks while none of them is looked at; else it is the last.
  summary?: string;
}

const HEIGHT = 150;
const TOP = 8;
const BOTTOM = 22;
const RIGHT = 6;
// Letters of the axis are about so wide.
const LETTER = 6.6;

export function Chart({ title, labels, series, show, kind = "area", isTime = false, summary }: ChartProps) {
  const [box, width] = useWidth<HTMLDivElement>();
  const { values } = series;
  const axis = ticks(Math.max(1, ...values), isTime);
  const names = axis.map((value) => show(value).replace(".0 ", " "));
  const left = Math.ceil(Math.max(...names.map((name) => name.length)) * LETTER) + 10;
  const cursor = useCursor(values.length, width, { left, right: RIGHT });
  const room = Math.max(1, width - left - RIGHT);
  const slot = room / Math.max(1, values.length);
  const x = (i: number) => left + (i + 0.5) * slot;
  const y = (value: number) => HEIGHT - BOTTOM - (value / axis[axis.length - 1]) * (HEIGHT - TOP - BOTTOM);
  const line = values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const thick = Math.max(1, Math.min(28, slot * 0.66));
  const bar = (value: number, i: number) => {
    if (value <= 0) return "";
    const top = Math.min(y(value), HEIGHT - BOTTOM - 2);
    return `M${(x(i) - thick / 2).toFixed(1)} ${HEIGHT - BOTTOM}V${top.toFixed(1)}h${thick.toFixed(1)}V${HEIGHT - BOTTOM}z`;
  };
  const told = (i: number) => `${labels[i]}: ${show(values[i])}`;
  const last = values.length - 1;
  const { at } = cursor;
  return (
    <figure className={`chart ${series.className}`}>
      <figcaption>
        <span className="chart-title">{title}</span>
        <span className="figure">{at !== null ? told(at) : (summary ?? (last >= 0 ? told(last) : ""))}</span>
      </figcaption>
      <div ref={box} className="plot" tabIndex={0} role="group" aria-label={`${title}: chart. The arrow keys read it value by value.`} {...cursor.handlers}>
        {width > 0 && (
          <svg width={width} height={HEIGHT} aria-hidden="true">
            {axis.map((value, i) => (
              <g key={value}>
                <path d={`M${left} ${Math.round(y(value)) + 0.5}H${width - RIGHT}`} className={i ? "grid" : "base"} />
                <text x={left - 8} y={y(value) + 4} className="axis end">
                  {names[i]}
                </text>
              </g>
            ))}
            {kind === "bars" ? (
              <path d={values.map(bar).join("")} className="bars" />
            ) : (
              last > 0 && (
                <>
                  <path d={`${line}V${HEIGHT - BOTTOM}H${x(0).toFixed(1)}z`} className="area" />
                  <path d={line} className="line" />
                </>
              )
            )}
            {at !== null && (
              <>
                {kind === "bars" ? (
                  <path d={bar(values[at], at)} className="bars is-looked-at" />
                ) : (
                  <path d={`M${x(at).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}`} className="guide" />
                )}
                {kind === "area" && <circle cx={x(at)} cy={y(values[at])} r="4" className="dot" />}
              </>
            )}
            {labelled(values.length, room, 115).map((i) => (
              <text key={i} x={Math.min(x(i), width - RIGHT)} y={HEIGHT - 5} className={i === last ? "axis end" : "axis middle"}>
                {labels[i].replace(/, \d\d:\d\d$/, "")}
              </text>
            ))}
          </svg>
        )}
      </div>
      <p className="sr" role="status">
        {cursor.isTold && at !== null ? told(at) : ""}
      </p>
      <div className="sr">
        <table>
          <caption>{title}</caption>
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">{series.name}</th>
            </tr>
          </thead>
          <tbody>
            {labels.map((label, i) => (
              <tr key={label + i}>
                <th scope="row">{label}</th>
                <td>{show(values[i])}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  );
}
