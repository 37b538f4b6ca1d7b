// States, told by shape, word and colour together.

import type { Health, Outcome, StripDay } from "../api";
import { count, day } from "../format";

export type Tone = "good" | "warning" | "bad" | "open" | "missed" | "busy" | "calm" | "excused";

const SHAPES: Record<Tone, React.ReactNode> = {
  good: (
    <>
      <circle cx="8" cy="8" r="7" className="fill" />
      <path d="m4.8 8.2 2.2 2.2 4.2-4.6" className="mark" />
    </>
  ),
  warning: (
    <>
      <path d="M8 1.2 15.2 14.200H.800z" className="fill" />
      <path d="M8 6v3.600M8 11.900v.1" className="mark" />
    </>
  ),
  bad: (
    <>
      <path d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" className="fill" />
      <path d="m5.5 5.5 5 5m0-5-5 5" className="mark" />
    </>
  ),
  open: (
    <>
      <path d="M8 1.300 14 3.500v4c0 3.600-2.400 6-6 7.300-3.600-1.300-6-3.700-6-7.300v-4z" className="outline" />
      <path d="M8 4.800v3.700M8 11v.1" className="outline" />
    </>
  ),
  missed: (
    <>
      <circle cx="8" cy="8" r="6.2" className="outline" />
      <path d="M8 4.500V8l2.4 1.6" className="outline" />
    </>
  ),
  busy: <path d="M8 1.800a6.2 6.2 0 1 1-6.2 6.2" className="outline turning" />,
  calm: <circle cx="8" cy="8" r="6.2" className="outline" />,
  excused: (
    <>
      <circle cx="8" cy="8" r="6.2" className="outline" />
      <path d="M5 8h6" className="outline" />
    </>
  ),
};

export const Icon = ({ kind }: { kind: Tone }) => (
  <svg className={`icon tone-${kind}`} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
    {SHAPES[kind]}
  </svg>
);

// The worst first.
export const BY_URGENCY: Health[] = ["bad", "unprotected", "warning", "good", "excused"];

export const healthOrder = (vm: { health: Health }) => BY_URGENCY.indexOf(vm.health);

export const Status = ({ tone, children, title }: { tone: Tone; children: React.ReactNode; title?: string }) => (
  <span className={`status tone-${tone}`} title={title}>
    <Icon kind={tone} />
    <span>{children}</span>
  </span>
);

const HEALTHS: Record<Health, [Tone, string]> = {
  good: ["good", "Safe"],
  warning: ["warning", "Attention"],
  bad: ["bad", "At risk"],
  unprotected: ["open", "Unprotected"],
  excused: ["excused", "Excused"],
};
export const healthTone = (health: Health): Tone => HEALTHS[health]?.[0] ?? "calm";
export const healthName = (health: Health) => HEALTHS[health]?.[1] ?? health;
export const HealthStatus = ({ health, reason }: { health: Health; reason?: string }) => {
  const [tone, word] = HEALTHS[health] ?? ["calm", health];
  return (
    <Status tone={tone} title={reason}>
      {word}
    </Status>
  );
};

const RUNS: Record<string, [Tone, string]> = {
  queued: ["calm", "Waiting"],
  starting: ["busy", "Starting"],
  running: ["busy", "Running"],
  success: ["good", "Success"],
  warning: ["warning", "With warnings"],
  partial_success: ["warning", "In part"],
  failed: ["bad", "Failed"],
  cancelled: ["excused", "Cancelled"],
  missed: ["missed", "Missed"],
  pending: ["calm", "Waiting"],
  processing: ["busy", "Running"],
  completed: ["good", "Done"],
};
export const runStatusName = (status: string) => RUNS[status]?.[1] ?? status;
export const RunStatusMark = ({ status, title }: { status: string; title?: string }) => {
  const [tone, word] = RUNS[status] ?? ["calm", status];
  return (
    <Status tone={tone} title={title}>
      {word}
    </Status>
  );
};

const SEVERITIES: Record<string, [Tone, string]> = {
  critical: ["bad", "Critical"],
  warning: ["warning", "Warning"],
  info: ["calm", "Note"],
};
export const severityTone = (severity: string): Tone => SEVERITIES[severity]?.[0] ?? "calm";
export const SeverityMark = ({ severity }: { severity: string }) => (
  <Status tone={severityTone(severity)}>{SEVERITIES[severity]?.[1] ?? severity}</Status>
);

export const OUTCOMES: Record<Outcome, string> = {
  good: "good",
  warning: "with warnings",
  missed: "missed",
  failed: "failed",
  none: "nothing due",
};

export function stripWords(strip: StripDay[]): string {
  const found = (["good", "warning", "missed", "failed"] as Outcome[])
    .map((outcome) => [strip.filter((d) => d.outcome === outcome).length, OUTCOMES[outcome]] as const)
    .filter(([n]) => n > 0)
    .map(([n, word]) => `${n} ${word}`);
  return `${count(strip.length, "day")}: ${found.join(", ") || "no runs"}`;
}

// Thirty days as one small picture. Every outcome has a shape of its own: a full bar, a shorter one, a hollow
// one, a crossed one, a dot. It is drawn as one path per outcome, so hundreds of rows stay quick.
export function Strip({ strip }: { strip: StripDay[] }) {
  const paths: Record<string, string> = { good: "", warning: "", missed: "", failed: "", none: "", cross: "" };
  strip.forEach(({ outcome }, i) => {
    const x = i * 6;
    if (outcome === "good") paths.good += `M${x} 2h4v16h-4z`;
    else if (outcome === "warning") paths.warning += `M${x} 9h4v9h-4zM${x} 2h4v4h-4z`;
    else if (outcome === "missed") paths.missed += `M${x + 0.5} 2.500h3v15h-3z`;
    else if (outcome === "failed") {
      paths.failed += `M${x} 2h4v16h-4z`;
      paths.cross += `M${x + 0.5} 8l3 4m0-4l-3 4`;
    } else paths.none += `M${x} 16h4v2h-4z`;
  });
  const name = (event: React.MouseEvent<HTMLSpanElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const at = strip[Math.floor(((event.clientX - box.left) / box.width) * strip.length)];
    if (at) event.currentTarget.title = `${day(at.day)}: ${OUTCOMES[at.outcome]}`;
  };
  return (
    <span className="strip" onMouseMove={name}>
      <svg viewBox={`0 0 ${Math.max(1, strip.length * 6 - 2)} 20`} preserveAspectRatio="none" role="img" aria-label={stripWords(strip)}>
        {Object.entries(paths).map(([key, d]) => d && <path key={key} d={d} className={`o-${key}`} />)}
      </svg>
    </span>
  );
}
