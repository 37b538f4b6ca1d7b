// How figures, times and words of the API are shown.

import { serverNow } from "./server_time";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function size(bytes: number | null | undefined): string {
  if (bytes === null || bytes === undefined) return "–";
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 && minutes < 10 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.floor(hours / 24)} days`;
}

export const everyHours = (hours: number) => (hours === 0 ? "never" : hours % 24 === 0 && hours > 24 ? `every ${hours / 24} days` : hours === 24 ? "every day" : `every ${hours} h`);

// From so many seconds on, a time is told in a unit of so many: from two of them on. "Yesterday" may be the night before
// last, and "last month" yesterday.
const STEPS: [Intl.RelativeTimeFormatUnit, number, number][] = [
  ["year", 2 * 31_536_000, 31_536_000],
  ["month", 2 * 2_592_000, 2_592_000],
  ["day", 2 * 86_400, 86_400],
  ["hour", 3_600, 3_600],
  ["minute", 60, 60],
];
const relativeWords = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function relative(at: string, now: number): string {
  const seconds = (Date.parse(at) - now) / 1000;
  for (const [unit, least, length] of STEPS) {
    if (Math.abs(seconds) >= least) return relativeWords.format(Math.round(seconds / length), unit);
  }
  // The time that people look from moves on every 20 s, so what lies less ahead may be over.
  return seconds > 25 ? "in a moment" : "just now";
}

const exactWords = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const MOMENT = { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" } as const;
const shortWords = new Intl.DateTimeFormat("en-GB", MOMENT);
const longWords = new Intl.DateTimeFormat("en-GB", { ...MOMENT, year: "numeric" });
const dayWords = new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" });

export const exact = (at: string) => exactWords.format(new Date(at));
// With the year where it is not this one.
export function moment(at: string): string {
  const date = new Date(at);
  const isThisYear = date.getFullYear() === new Date(serverNow()).getFullYear();
  return (isThisYear ? shortWords : longWords).format(date);
}
export const clock = (at: string) => new Date(at).toLocaleTimeString("en-GB");
export const day = (date: string) => dayWords.format(new Date(`${date.slice(0, 10)}T12:00:00Z`));

export const number = (n: number) => n.toLocaleString("en");

export const count = (n: number, one: string, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

const ENGINES: Record<string, string> = {
  hyperv: "Hyper-V VMs",
  kopia: "Files and folders",
  disk_image: "Disk image",
  sync: "Copy of a bucket",
};
export const engineName = (engine: string) => ENGINES[engine] ?? engine;

const CONSISTENCIES: Record<string, string> = {
  application: "Application-consistent",
  "require-application": "Application-consistent, or no point",
  crash: "Crash-consistent",
  "crash-no-checkpoint": "Crash-consistent, no checkpoint",
};
export const consistencyName = (word: string | null) => (word ? (CONSISTENCIES[word.toLowerCase()] ?? word) : "");

const PROOFS: Record<string, string> = {
  structure: "its structure was read",
  content: "its structure and a sample of its content were read back",
  restore: "it was restored and compared",
};
export const proofName = (word: string) => PROOFS[word] ?? word;

const ALARMS: Record<string, string> = {
  vm_objective_missed: "Objective missed",
  vm_unprotected: "Unprotected VM",
  consistency_below: "Less consistent than asked",
  tracking_rebased: "Read in full again",
  tracking_wrong: "Change tracking proven wrong",
  checkpoint_old: "Old checkpoint",
  point_damaged: "Damaged point",
  points_damaged: "Damaged points",
  volume_low: "Little space left",
  repository_near_limit: "Repository near its limit",
  channel_failed: "Messages not delivered",
};
export const alarmName = (kind: string) => ALARMS[kind] ?? plain(kind);

// A word of the API such as `vm_objective_missed`, as people write it.
export function plain(word: string): string {
  return capital(word.replaceAll("_", " ").replaceAll(".", " ").replace(/\b(vm|api)\b/gi, (name) => name.toUpperCase()));
}

export const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

export const baseName = (path: string) => path.split(/[\\/]/).filter(Boolean).pop() ?? path;

const WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
export const weekdays = WEEK.map((word) => ({ word, name: word.charAt(0).toUpperCase() + word.slice(1) }));

interface ScheduleWords {
  kind: string;
  at?: string;
  days?: string[] | null;
  every_hours?: number;
  minute?: number;
  expression?: string;
  time_zone?: string | null;
  window?: { from: string; to: string } | null;
}

export const OWN_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

// `zone` is its tenant's: that it is meant is said where it is not the one of whoever reads.
export function scheduleText(schedule: ScheduleWords, zone: string | undefined): string {
  if (schedule.kind === "manual") return "Only when somebody starts it";
  let text = "";
  if (schedule.kind === "hourly") {
    const every = schedule.every_hours === 1 ? "Every hour" : `Every ${schedule.every_hours} hours`;
    text = `${every} at minute ${schedule.minute}`;
  } else if (schedule.kind === "daily") {
    const days = schedule.days?.length && schedule.days.length < 7 ? schedule.days.map(plain).join(", ") : "Every day";
    text = `${days} at ${schedule.at}`;
  } else if (schedule.kind === "cron") text = `Cron ${schedule.expression}`;
  if (schedule.window) text += `, only between ${schedule.window.from} and ${schedule.window.to}`;
  const meant = schedule.time_zone || (zone !== OWN_ZONE && zone);
  if (meant) text += ` (${meant})`;
  return text;
}

export function retentionText(rules: object): string {
  const names: Record<string, string> = {
    keep_last: "last",
    hourly: "hourly",
    daily: "daily",
    weekly: "weekly",
    monthly: "monthly",
    yearly: "yearly",
  };
  const set = rules as Record<string, number | null>;
  const parts = Object.entries(names)
    .filter(([key]) => set[key])
    .map(([key, name]) => `${set[key]} ${name}`);
  return parts.length ? `Keeps ${parts.join(", ")}` : "Keeps everything";
}
