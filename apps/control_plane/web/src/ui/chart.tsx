// Charts of our own, as SVG: few marks on axes with units. What is looked at, with a pointer or with the arrow keys,
// stands above the marks as text; for screen readers there is a table.

import { type Marks, Plot } from "./plot";

export interface Series {
  name: string;
  className: string;
  values: number[];
}

type Unit = "bytes" | "time" | "percent";

interface ChartProps {
  title: string;
  labels: string[];
  series: Series;
  show: (value: number) => string;
  kind?: "area" | "bars";
  unit?: Unit;
  // What a value means, where the figure alone does not say it.
  note?: (i: number) => string;
}

const HEIGHT = 150;
const TOP = 8;
const BOTTOM = 22;
const RIGHT = 6;
// Letters of the axis are about so wide.
const LETTER = 6.6;

export function Chart({ title, labels, series, show, kind = "area", unit = "bytes", note }: ChartProps) {
  const { values } = series;
  const axis = ticks(Math.max(1, ...values), unit);
  const names = axis.map((value) => show(value).replace(".0 ", " "));
  const left = Math.ceil(Math.max(...names.map((name) => name.length)) * LETTER) + 10;
  const y = (value: number) => HEIGHT - BOTTOM - (value / axis[axis.length - 1]) * (HEIGHT - TOP - BOTTOM);
  const told = labels.map((label, i) => `${label}: ${show(values[i])}${note ? `, ${note(i)}` : ""}`);
  const last = values.length - 1;
  return (
    <figure className={`chart ${series.className}`}>
      <Plot
        told={told}
        name={(i) => labels[i].replace(/, \d\d:\d\d$/, "")}
        height={HEIGHT}
        label={`${title}: chart. The arrow keys read it value by value.`}
        frame={{ left, right: RIGHT }}
        isLine={kind === "area"}
        head={(at) => (
          <figcaption>
            <span className="chart-title">{title}</span>
            <span className="figure">{at !== null ? told[at] : (told[last] ?? "")}</span>
          </figcaption>
        )}
        draw={(marks) => (
          <>
            {axis.map((value, i) => (
              <g key={value}>
                <path d={`M${left} ${Math.round(y(value)) + 0.5}H${marks.width - RIGHT}`} className={i ? "grid" : "base"} />
                <text x={left - 8} y={y(value) + 4} className="axis end">
                  {names[i]}
                </text>
              </g>
            ))}
            {kind === "bars" ? <Bars values={values} marks={marks} y={y} /> : last > 0 && <Area values={values} marks={marks} y={y} />}
          </>
        )}
      />
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

interface Drawn {
  values: number[];
  marks: Marks;
  y: (value: number) => number;
}

function Bars({ values, marks: { at, slot, x }, y }: Drawn) {
  const thick = Math.max(1, Math.min(28, slot * 0.66));
  const bar = (value: number, i: number) => {
    if (value <= 0) return "";
    const top = Math.min(y(value), HEIGHT - BOTTOM - 2);
    return `M${(x(i) - thick / 2).toFixed(1)} ${HEIGHT - BOTTOM}V${top.toFixed(1)}h${thick.toFixed(1)}V${HEIGHT - BOTTOM}z`;
  };
  return (
    <>
      <path d={values.map(bar).join("")} className="bars" />
      {at !== null && <path d={bar(values[at], at)} className="bars is-looked-at" />}
    </>
  );
}

function Area({ values, marks: { at, x }, y }: Drawn) {
  const line = values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  return (
    <>
      <path d={`${line}V${HEIGHT - BOTTOM}H${x(0).toFixed(1)}z`} className="area" />
      <path d={line} className="line" />
      {at !== null && (
        <>
          <path d={`M${x(at).toFixed(1)} ${TOP}V${HEIGHT - BOTTOM}`} className="guide" />
          <circle cx={x(at)} cy={y(values[at])} r="4" className="dot" />
        </>
      )}
    </>
  );
}

// Round steps of an axis from zero on, at least as high as `most`.
function ticks(most: number, unit: Unit): number[] {
  if (unit === "percent") return [0, 50, 100];
  const step = unit === "time" ? timeStep(most) : byteStep(most);
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
