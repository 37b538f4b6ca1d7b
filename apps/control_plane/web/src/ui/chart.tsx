// Charts of our own, as SVG: few marks, the figures beside them as text and, for screen readers, as a table.

export interface Series {
  name: string;
  className: string;
  values: number[];
}

interface ChartProps {
  title: string;
  labels: string[];
  series: Series[];
  show: (value: number) => string;
  kind?: "area" | "bars";
}

const WIDTH = 600;
const HEIGHT = 120;

export function Chart({ title, labels, series, show, kind = "area" }: ChartProps) {
  const most = Math.max(1, ...series.flatMap((s) => s.values));
  const step = labels.length > 1 ? WIDTH / (kind === "area" ? labels.length - 1 : labels.length) : WIDTH;
  const y = (value: number) => HEIGHT - (value / most) * (HEIGHT - 4);
  const line = (values: number[]) => values.map((v, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  const area = (values: number[]) => `${line(values)}V${HEIGHT}H0z`;
  const bar = (value: number, i: number) =>
    `M${((i + 0.15) * step).toFixed(1)} ${HEIGHT}V${Math.min(y(value), HEIGHT - 2).toFixed(1)}h${(step * 0.7).toFixed(1)}V${HEIGHT}z`;
  const bars = (values: number[]) => values.map((value, i) => (value > 0 ? bar(value, i) : "")).join("");
  const name = (event: React.MouseEvent<HTMLDivElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = Math.min(labels.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * labels.length)));
    event.currentTarget.title = `${labels[at]}\n${series.map((s) => `${s.name}: ${show(s.values[at])}`).join("\n")}`;
  };
  return (
    <figure className="chart">
      <figcaption>
        <strong>{title}</strong>
        <span className="legend">
          {series.map((s) => (
            <span key={s.name} className={s.className}>
              <svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">
                <path d="M0 0h10v10H0z" />
              </svg>
              {s.name} {show(s.values.at(-1) ?? 0)}
            </span>
          ))}
        </span>
      </figcaption>
      <div className="plot" onMouseMove={name} aria-hidden="true">
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none">
          <path d={`M0 ${HEIGHT - 0.5}H${WIDTH}`} className="base" />
          {series.map((s) => (
            <g key={s.name} className={s.className}>
              {kind === "bars" ? (
                <path d={bars(s.values)} className="bars" />
              ) : (
                <>
                  <path d={area(s.values)} className="area" />
                  <path d={line(s.values)} className="line" />
                </>
              )}
            </g>
          ))}
        </svg>
        <span className="most">{show(most)}</span>
      </div>
      <div className="span" aria-hidden="true">
        <span>{labels[0]}</span>
        <span>{labels.at(-1)}</span>
      </div>
      <div className="sr">
        <table>
        <caption>{title}</caption>
        <thead>
          <tr>
            <th scope="col">When</th>
            {series.map((s) => (
              <th key={s.name} scope="col">
                {s.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {labels.map((label, i) => (
            <tr key={label + i}>
              <th scope="row">{label}</th>
              {series.map((s) => (
                <td key={s.name}>{show(s.values[i])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      </div>
    </figure>
  );
}
