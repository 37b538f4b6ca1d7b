// The people's API as the dashboard uses it: its types, and how it is called.
//
// Times are RFC 3339 texts in UTC, sizes are bytes. Members that a server leaves out are optional here.

import { hearServerTime } from "./server_time";

export type Role = "viewer" | "operator" | "owner";
export type Id = string | number;

export interface Tenant {
  id: string;
  name: string;
  time_zone: string;
  created_at?: string;
  host_count?: number;
  vm_count?: number;
}

export interface Session {
  user: { id: string; email: string; name: string; role: Role; tenant_id: string | null; has_totp: boolean };
  csrf_token: string;
  tenants: Tenant[];
}

export interface User {
  id: string;
  tenant_id: string | null;
  email: string;
  name: string;
  role: Role;
  has_totp: boolean;
  is_disabled: boolean;
  created_at: string;
}

export interface ApiToken {
  id: string;
  tenant_id: string | null;
  name: string;
  role: Role;
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
  token?: string;
}

export interface EnrolmentToken {
  id: Id;
  tenant_id: string;
  description: string;
  max_uses: number | null;
  use_count: number;
  expires_at: string | null;
  created_at: string;
  token?: string;
  command?: string;
}

export interface AuditEntry {
  id: Id;
  at: string;
  actor: string;
  action: string;
  object_kind: string;
  object_id: string;
  detail: unknown;
  address: string;
}

export interface Smtp {
  host: string;
  port: number;
  tls: "starttls" | "tls" | "none";
  username: string;
  from: string;
}

// How many days each kind of row is kept when it is over.
export type History = Record<HistoryMember, number>;
export type HistoryMember =
  | "runs_days"
  | "events_days"
  | "commands_days"
  | "messages_days"
  | "gone_points_days"
  | "alarms_days"
  | "audit_days";

export interface Settings {
  public_url: string;
  min_agent_version: string;
  webhook_networks: string[];
  history: History;
  smtp: Smtp | null;
  has_smtp_password: boolean;
}

export interface Volume {
  path: string;
  label: string;
  size_bytes: number;
  // Null where the agent does not tell it.
  free_bytes: number | null;
  filesystem: string;
  type: string;
}

export interface Host {
  id: string;
  tenant_id: string;
  name: string;
  hostname: string;
  os: string;
  arch: string;
  agent_version: string;
  is_online: boolean;
  is_disabled: boolean;
  last_seen_at: string | null;
  created_at: string;
  vm_count: number;
  job_count: number;
  volumes: Volume[];
  volumes_at: string | null;
  inventory_at: string | null;
}

export interface Command {
  id: Id;
  host_id: string;
  kind: string;
  status: "pending" | "processing" | "completed" | "failed";
  result_message: string;
  result: unknown;
  created_at: string;
  finished_at: string | null;
}

export interface BrowseEntry {
  name: string;
  path: string;
  is_dir: boolean;
  size: number;
  modified_at: string;
  type: "drive" | "folder" | "file";
}

export interface BrowseResult {
  path: string;
  parent: string;
  entries: BrowseEntry[];
  error: string;
}

export interface LogTail {
  path: string;
  truncated: boolean;
  retrieved_at: string;
  content: string;
}

export interface HostEvent {
  id: Id;
  at: string;
  level: string;
  code: string;
  params: Record<string, unknown>;
  text: string;
}

export type Outcome = "good" | "warning" | "missed" | "failed" | "none";
export type Health = "good" | "warning" | "bad" | "unprotected" | "excused";

export interface StripDay {
  day: string;
  outcome: Outcome;
  run_id: string | null;
}

export interface VmRow {
  id: number;
  host_id: string;
  host_name: string;
  name: string;
  guid: string;
  state: string;
  is_linux: boolean;
  generation: number;
  is_tracked: boolean;
  is_protected: boolean;
  is_excused: boolean;
  job_ids: string[];
  objective_hours: number | null;
  last_point_at: string | null;
  last_point_id: number | null;
  last_consistency: string | null;
  last_proven_at: string | null;
  size_bytes: number | null;
  change_rate_bytes_per_day: number | null;
  next_run_at: string | null;
  health: Health;
  health_reason: string;
  strip: StripDay[];
}

export interface VmDisk {
  path: string;
  size_bytes: number;
  used_bytes: number;
  format: string;
  is_tracked: boolean;
}

export interface Vm extends VmRow {
  disks: VmDisk[];
  leftovers: { kind: string; name: string; created_at: string | null }[];
  cpu_count: number;
  memory_mb: number;
  first_seen_at: string;
  last_seen_at: string;
  gone_at: string | null;
}

export interface Repository {
  id: string;
  tenant_id: string;
  name: string;
  kind: "s3" | "local";
  endpoint: string;
  region: string;
  bucket: string;
  prefix: string;
  path: string;
  limit_bytes: number | null;
  quick_every_hours: number;
  full_every_hours: number;
  verify_every_hours: number;
  verify_percent: number;
  stored_bytes: number | null;
  measured_at: string | null;
  last_quick_at: string | null;
  last_full_at: string | null;
  last_verified_at: string | null;
  last_listed_at: string | null;
  job_count: number;
  point_count: number;
  // Whose folder it is; none for S3 and shares, and before the first use.
  host_id: string | null;
  host_name: string | null;
  maintenance_due: boolean;
  verification_due: boolean;
  created_at: string;
}

export interface Operation {
  id: Id;
  repository_id: string;
  kind: string;
  status: string;
  host_id: string | null;
  attempts: number;
  result: unknown;
  created_at: string;
  finished_at: string | null;
}

export type Engine = "hyperv" | "kopia" | "disk_image" | "sync";

export type Schedule = (
  | { kind: "manual" }
  | { kind: "hourly"; every_hours: number; minute: number }
  | { kind: "daily"; at: string; days: string[] | null }
  | { kind: "cron"; expression: string }
) & { time_zone?: string | null; window?: { from: string; to: string } | null; spread_minutes?: number };

export interface Retention {
  keep_last?: number | null;
  hourly?: number | null;
  daily?: number | null;
  weekly?: number | null;
  monthly?: number | null;
  yearly?: number | null;
}

export interface VmRules {
  all: boolean;
  guids: string[];
  include: string[];
  exclude: string[];
}

export interface JobBody {
  host_id: string;
  repository_id: string;
  name: string;
  engine: Engine;
  status: "active" | "paused";
  sources: string[];
  vms: VmRules;
  consistency: string;
  schedule: Schedule;
  retention: Retention;
  policy: { compression?: string | null; parallel_uploads?: number | null };
  bandwidth_kib_s: number;
  objective_hours: number | null;
}

export interface Job extends JobBody {
  id: string;
  tenant_id: string;
  host_name: string;
  repository_name: string;
  next_run_at: string | null;
  last_run: Run | null;
  created_at: string;
  updated_at: string;
}

export interface JobPreview {
  next_runs: string[];
  vms: { id: number; name: string; is_included: boolean; why: string }[];
  retention: { kept: { at: string; reasons: string[] }[]; kept_count?: number; dropped_count: number; pinned?: { id: number; name: string; at: string }[] };
}

export type RunStatus =
  | "queued"
  | "starting"
  | "running"
  | "success"
  | "warning"
  | "partial_success"
  | "failed"
  | "cancelled"
  | "missed";

export interface Run {
  id: string;
  tenant_id: string;
  job_id: string | null;
  job_name: string | null;
  host_id: string;
  host_name: string;
  repository_id: string | null;
  kind: string;
  engine: string;
  trigger: string;
  status: RunStatus;
  requested_by: string;
  scheduled_for: string | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  heartbeat_at: string | null;
  is_cancel_requested: boolean;
  progress_pct: number;
  bytes_processed: number;
  bytes_transferred: number;
  bytes_total: number;
  objects_transferred: number;
  objects_total: number;
  speed_bytes_per_sec: number;
  eta_seconds: number;
  current_item: string;
  waits_for: string | null;
  error_summary: string;
  manifest_id: string;
  target: unknown;
  point_id?: number | null;
  points?: Point[];
  // What its agent last said in detail, where it says anything.
  progress?: Record<string, unknown>;
}

export interface RunEvent {
  id: number;
  at: string;
  level: string;
  type: string;
  message_id: string;
  params: Record<string, unknown>;
  text: string;
}

export interface PointDisk {
  path: string;
  manifest_id: string;
  // What the run that made the point read of the disk, and why, where its agent told.
  type?: string;
  full_reason?: string | null;
  read_bytes?: number;
  changed_bytes?: number;
}

export interface Point {
  id: number;
  tenant_id: string;
  host_id: string;
  host_name: string;
  repository_id: string;
  repository_name: string;
  job_id: string | null;
  run_id: string;
  engine: string;
  vm_id: number | null;
  name: string;
  manifest_id: string;
  backup_type: string;
  consistency: string;
  total_bytes: number;
  changed_bytes: number;
  duration_seconds: number;
  disks: PointDisk[];
  warnings: string[];
  created_at: string;
  proven_at: string | null;
  proven_how: string;
  is_pinned: boolean;
  // Since when nobody has confirmed that it is in the repository, where that is longer than a week ago.
  unconfirmed_since?: string | null;
  expired_at: string | null;
}

export interface Alarm {
  id: number;
  tenant_id: string;
  kind: string;
  severity: "info" | "warning" | "critical";
  subject_kind: string;
  subject_id: string;
  subject_name: string;
  message: string;
  detail: unknown;
  opened_at: string;
  last_seen_at: string;
  acknowledged_at: string | null;
  acknowledged_by: string;
  snoozed_until: string | null;
  resolved_at: string | null;
  resolved_by: string;
}

export interface Channel {
  id: string;
  tenant_id: string;
  name: string;
  kind: "email" | "webhook";
  addresses: string[];
  url: string;
  has_secret: boolean;
  min_severity: "info" | "warning" | "critical";
  quiet_hours: { from: string; to: string } | null;
  summary_at: string | null;
  is_enabled: boolean;
}

export interface Overview {
  now: string;
  decisions: Alarm[];
  vms: VmRow[];
  counts: {
    vms: number;
    protected: number;
    good: number;
    warning: number;
    bad: number;
    unprotected: number;
    excused: number;
    with_point: number;
    proven: number;
    hosts_online: number;
    hosts: number;
  };
  oldest_last_point_at: string | null;
  next_run_at: string | null;
  running: Run[];
  setup: { has_host: boolean; has_repository: boolean; has_job: boolean; has_point: boolean };
}

export interface StoredDay {
  day: string;
  stored_bytes: number | null;
  source_bytes: number;
}

export interface List<T> {
  items: T[];
  next: string | null;
}

// A refusal or a failure, in words that say what to do.
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field?: string,
  ) {
    super(message);
  }
}

// Refusals that name no field, but are about one.
const FIELDS: Record<string, string | undefined> = { email_taken: "email", setup_code: "setup_code", other_host: "host_id", host_disabled: "host_id" };

const BASE = "/api/v1";
// Lists that people of the installation may narrow to one tenant.
const OF_TENANT =
  /^\/(overview|stored|hosts|vms|repositories|jobs|runs|points|alarms|alarm-channels|users|api-tokens|enrolment-tokens|audit)(\?|$)/;

let csrfToken = "";
let chosenTenant = "";
let sessionEnded: () => void = () => {};

// Remembers what calls must carry, and whom to tell that the session has ended.
export function carryCredentials(token: string, tenantId: string, onEnd: () => void) {
  csrfToken = token;
  chosenTenant = tenantId;
  sessionEnded = onEnd;
}

export async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  if (method === "GET" && chosenTenant && OF_TENANT.test(path)) {
    path += `${path.includes("?") ? "&" : "?"}tenant_id=${encodeURIComponent(chosenTenant)}`;
  }
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET" && csrfToken) headers["X-CSRF-Token"] = csrfToken;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response: Response;
  try {
    response = await fetch(BASE + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: "same-origin",
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    const next = method === "GET" ? "this page tries again" : "look whether it was done, then try again";
    throw new ApiError(0, "unreachable", `The server does not answer. Check your connection; ${next}.`);
  }
  if (response.status === 204) return undefined as T;
  const isJson = response.headers.get("content-type")?.includes("json");
  if (response.ok) {
    const answer = isJson ? await response.json() : await response.text();
    if (path.startsWith("/overview")) hearServerTime((answer as Overview).now);
    return answer as T;
  }
  const error = isJson ? await response.json().catch(() => null) : null;
  if (response.status === 401 && path !== "/session" && error?.code === "unauthenticated") sessionEnded();
  throw new ApiError(
    response.status,
    error?.code ?? "failed",
    sentence(error?.message ?? `The server answered ${response.status}.`),
    error?.field ?? FIELDS[error?.code],
  );
}

// So many items of a list a screen can still show; of VMs, each with its days, fewer.
export const ITEMS_MAX = 5_000;
export const VMS_MAX = 1_000;

// Every item of a list, page after page, up to a bound.
export async function all<T>(path: string, signal?: AbortSignal, most = ITEMS_MAX): Promise<T[]> {
  const items: T[] = [];
  let cursor = "";
  do {
    const mark = path.includes("?") ? "&" : "?";
    const page = await call<List<T>>(
      "GET",
      `${path}${mark}limit=500${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
      undefined,
      signal,
    );
    items.push(...page.items);
    cursor = page.next ?? "";
  } while (cursor && items.length < most);
  return items;
}

// So long people wait for an agent to take a command: online it asks every few seconds.
const TAKEN_WITHIN_MS = 45_000;

// Waits until an agent has carried out a command.
export async function commandDone(command: Command, signal?: AbortSignal): Promise<Command> {
  const givenUpAt = Date.now() + TAKEN_WITHIN_MS;
  while (command.status === "pending" || command.status === "processing") {
    if (command.status === "pending" && Date.now() > givenUpAt) {
      throw new ApiError(0, "not_taken", "The agent has not taken it yet: its host may be silent. It is done when the agent is back.");
    }
    command = await call<Command>("GET", `/commands/${command.id}?wait=10`, undefined, signal);
  }
  if (command.status === "failed") {
    throw new ApiError(0, "command_failed", sentence(command.result_message || "The agent could not do this."));
  }
  return command;
}

export const runsStill = (status: string) => status === "queued" || status === "starting" || status === "running";

function sentence(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
