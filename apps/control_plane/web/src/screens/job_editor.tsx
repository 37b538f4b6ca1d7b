// Making and changing a job, with what it would do beside it.

import { useEffect, useState } from "react";
import { call, type Engine, type Host, type Job, type JobBody, type JobPreview, type Repository, type Retention, type Schedule, type VmRow } from "../api";
import { count, exact, moment, number, OWN_ZONE, plain, weekdays } from "../format";
import { refresh, useGet, useList } from "../fetching";
import { isOlderAgent } from "../reach";
import { go, Link, useQueryValue } from "../route";
import { useZoneOf } from "../session";
import { CheckField, Choice, FormError, LinesField, NumberField, SelectField, type Sending, TextField, useSending } from "../ui/form";
import { Empty, Loaded, Page, Panel, Time } from "../ui/parts";
import { Status } from "../ui/status";

export function JobEditorScreen({ id }: { id?: string }) {
  const [hostId] = useQueryValue("host");
  const job = useGet<Job>(`/jobs/${id}`, { enabled: id !== undefined });
  const crumbs = [{ href: "/jobs", name: "Jobs" }, ...(id ? [{ href: `/jobs/${id}`, name: job.data?.name ?? "Job" }] : [])];
  return (
    <Page title={id ? "Edit the job" : "New job"} crumbs={crumbs}>
      {id ? (
        <Loaded from={job}>{(data) => <JobForm job={data} onDone={(saved) => go(`/jobs/${saved.id}`)} />}</Loaded>
      ) : (
        <JobForm hostId={hostId} onDone={(saved) => go(`/jobs/${saved.id}`)} />
      )}
    </Page>
  );
}

const NEW_JOB: JobBody = {
  host_id: "",
  repository_id: "",
  name: "",
  engine: "hyperv",
  status: "active",
  sources: [],
  vms: { all: true, guids: [], include: [], exclude: [] },
  consistency: "application",
  schedule: { kind: "daily", at: "22:00", days: null, window: null, spread_minutes: 0 },
  retention: { daily: 14, weekly: 8, monthly: 12 },
  policy: { compression: "zstd-fastest" },
  bandwidth_kib_s: 0,
  objective_hours: 26,
};

function bodyOf(job: Job): JobBody {
  const { host_id, repository_id, name, engine, status, sources, vms, consistency, schedule, retention, policy, bandwidth_kib_s, objective_hours } = job;
  return { host_id, repository_id, name, engine, status, sources, vms, consistency, schedule, retention, policy, bandwidth_kib_s, objective_hours };
}

interface JobFormProps {
  job?: Job;
  hostId?: string;
  repositoryId?: string;
  onDone: (job: Job) => void;
}

export function JobForm(props: JobFormProps) {
  const hosts = useList<Host>("/hosts");
  const repositories = useList<Repository>("/repositories");
  return (
    <Loaded from={hosts}>
      {(hostItems) => (
        <Loaded from={repositories}>
          {(repositoryItems) =>
            hostItems.length === 0 ? (
              <Empty title="A job needs a host" action={<Link href="/hosts">Enrol a host</Link>}>
                Enrol the machine whose VMs or files you want to protect.
              </Empty>
            ) : repositoryItems.length === 0 ? (
              <Empty title="A job needs a repository" action={<Link href="/repositories">Add a repository</Link>}>
                Say first where backups shall rest.
              </Empty>
            ) : (
              <Editor {...props} hosts={hostItems} repositories={repositoryItems} />
            )
          }
        </Loaded>
      )}
    </Loaded>
  );
}

// Those that a host can reach: its tenant's, of which a folder on a disk is its host's alone. The one that is chosen
// stays among them.
const reachable = (repositories: Repository[], host: Host, chosen?: string) =>
  repositories.filter(
    ({ id, tenant_id, host_id }) => id === chosen || (tenant_id === host.tenant_id && (!host_id || host_id === host.id)),
  );

function Editor({ job, hostId, repositoryId, onDone, hosts, repositories }: JobFormProps & { hosts: Host[]; repositories: Repository[] }) {
  const hostOf = (id: string | undefined) => hosts.find((host) => host.id === id) ?? hosts[0];
  const [form, setForm] = useState<JobBody>(() => {
    if (job) return bodyOf(job);
    const host = hostOf(hostId);
    const repository_id = repositoryId || (reachable(repositories, host)[0]?.id ?? "");
    return { ...NEW_JOB, host_id: host.id, repository_id, name: `Nightly, ${host.name}` };
  });
  const host = hostOf(form.host_id);
  const choices = reachable(repositories, host, job?.repository_id);
  const set = (change: Partial<JobBody>) => setForm({ ...form, ...change });
  const sending = useSending(async () => {
    const { engine, ...change } = form;
    const saved = job ? await call<Job>("PATCH", `/jobs/${job.id}`, change) : await call<Job>("POST", "/jobs", { ...change, engine });
    await refresh("/jobs", "/overview", "/vms");
    onDone(saved);
  });
  const fields = ["name", "host_id", "repository_id", "sources", "consistency", "schedule", "retention", "vms", "objective_hours", "bandwidth_kib_s"];
  const isVms = form.engine === "hyperv";
  const zone = useZoneOf(host.tenant_id);
  return (
    <form onSubmit={sending.onSubmit} className="editor">
      <div>
        <Panel title="What">
          <TextField label="Name" required value={form.name} onChange={(name) => set({ name })} error={sending.errorOf("name")} />
          <div className="two">
            <SelectField
              label="Host"
              value={form.host_id}
              onChange={(host_id) => {
                const reached = reachable(repositories, hostOf(host_id));
                const isReached = reached.some((repository) => repository.id === form.repository_id);
                set({ host_id, vms: { ...form.vms, guids: [] }, ...(!isReached && { repository_id: reached[0]?.id ?? "" }) });
              }}
              options={hosts.map((host) => ({ value: host.id, name: host.name }))}
              error={sending.errorOf("host_id")}
            />
            <SelectField
              label="Repository"
              required
              value={form.repository_id}
              onChange={(repository_id) => set({ repository_id })}
              options={choices.length ? choices.map((repository) => ({ value: repository.id, name: repository.name })) : [{ value: "", name: "None that this host reaches" }]}
              error={sending.errorOf("repository_id")}
            />
          </div>
          {!job && (
            <Choice<Engine>
              label="Kind"
              value={form.engine}
              onChange={(engine) => set({ engine })}
              options={[
                { value: "hyperv", name: "VMs", hint: "Whole Hyper-V VMs, from the host" },
                { value: "kopia", name: "Files", hint: "Files and folders" },
                { value: "disk_image", name: "Disk", hint: "A whole disk or volume, by the older agent alone" },
              ]}
            />
          )}
          <div role="status">{form.engine === "disk_image" && <DiskImageNote host={host} />}</div>
          {isVms ? (
            <VmRulesFields form={form} set={set} error={sending.errorOf("vms")} />
          ) : (
            <LinesField
              label={form.engine === "disk_image" ? "Disk or volume" : "Folders"}
              hint={form.engine === "disk_image" ? "The path of one; another one takes another job." : "One path on each line."}
              placeholder={form.engine === "disk_image" ? "D:" : "C:\\Data"}
              value={form.sources}
              onChange={(sources) => set({ sources })}
              error={sending.errorOf("sources")}
            />
          )}
        </Panel>
        <Panel title="When">
          <ScheduleFields schedule={form.schedule} zone={zone} onChange={(schedule) => set({ schedule })} sending={sending} />
        </Panel>
        <Panel title="How long it is kept">
          <RetentionFields retention={form.retention} onChange={(retention) => set({ retention })} error={sending.errorOf("retention")} />
        </Panel>
        <Panel title="How">
          {isVms && (
            <SelectField
              label="Consistency"
              value={form.consistency}
              onChange={(consistency) => set({ consistency })}
              hint={form.consistency === "application" ? "If less is reached, the point is still made, and an alarm says so." : undefined}
              options={[
                { value: "application", name: "Application-consistent, by VSS in the guest" },
                { value: "require-application", name: "Application-consistent, or no point at all" },
                { value: "crash", name: "Crash-consistent is enough" },
                ...(["application", "require-application", "crash"].includes(form.consistency) ? [] : [{ value: form.consistency, name: plain(form.consistency) }]),
              ]}
              error={sending.errorOf("consistency")}
            />
          )}
          <div className="two">
            <NumberField
              label="A good point at least every"
              unit="h"
              min={1}
              max={8760}
              required
              value={form.objective_hours}
              onChange={(objective_hours) => set({ objective_hours })}
              error={sending.errorOf("objective_hours")}
            />
            <NumberField
              label="Bandwidth at most"
              unit="KiB/s"
              min={0}
              hint="0: no limit"
              value={form.bandwidth_kib_s}
              onChange={(n) => set({ bandwidth_kib_s: n ?? 0 })}
              error={sending.errorOf("bandwidth_kib_s")}
            />
          </div>
          <SelectField
            label="Compression"
            value={form.policy.compression ?? ""}
            onChange={(compression) => set({ policy: { ...form.policy, compression: compression || null } })}
            options={[
              { value: "", name: "None" },
              { value: "zstd-fastest", name: "Fast (zstd-fastest)" },
              { value: "zstd", name: "Balanced (zstd)" },
              { value: "zstd-better-compression", name: "Small (zstd-better-compression)" },
              ...(["", "zstd-fastest", "zstd", "zstd-better-compression"].includes(form.policy.compression ?? "")
                ? []
                : [{ value: form.policy.compression ?? "", name: form.policy.compression ?? "" }]),
            ]}
          />
        </Panel>
      </div>
      <Preview form={form} />
      <div>
        <FormError error={sending.error} fields={fields} />
        <button type="submit" className="primary" disabled={sending.isBusy}>
          {job ? "Save the job" : "Create the job"}
        </button>
      </div>
    </form>
  );
}

// Which hosts make images of disks, and whether this one does.
const DiskImageNote = ({ host }: { host: Host }) =>
  isOlderAgent(host) ? (
    <p className="hint">Agents of version 2 do not make images of disks yet: such jobs run on hosts with the older agent only.</p>
  ) : (
    <div className="note tone-warning">
      <p>
        <strong>{host.name} does not make images of disks.</strong> Its agent is {host.agent_version}, and agents of version 2 do not make them yet: each
        run of this job would fail. Choose a host with the older agent, or back up files.
      </p>
    </div>
  );

function VmRulesFields({ form, set, error }: { form: JobBody; set: (change: Partial<JobBody>) => void; error?: string }) {
  const vms = useList<VmRow>(`/vms?host_id=${form.host_id}`);
  const rules = form.vms;
  const [mode, setMode] = useState<"all" | "names" | "chosen">(rules.all ? "all" : rules.guids.length ? "chosen" : "names");
  const change = (next: Partial<JobBody["vms"]>) => set({ vms: { ...rules, ...next } });
  const choose = (next: typeof mode) => {
    setMode(next);
    if (next === "all") change({ all: true, guids: [], include: [] });
    else if (next === "names") change({ all: false, guids: [] });
    else change({ all: false, include: [] });
  };
  return (
    <>
      <Choice
        label="Which VMs"
        value={mode}
        onChange={choose}
        options={[
          { value: "all", name: "All", hint: "New VMs too, by themselves" },
          { value: "names", name: "By name", hint: "New VMs too, if they match" },
          { value: "chosen", name: "Chosen", hint: "These and no others" },
        ]}
      />
      {mode === "names" && (
        <LinesField label="Names like" hint="One pattern on each line; * stands for anything." placeholder="web*" value={rules.include} onChange={(include) => change({ include })} />
      )}
      {mode === "chosen" && (
        <fieldset className="plain scroll">
          <legend>VMs of this host</legend>
          <Loaded from={vms}>
            {(items) =>
              items.length ? (
                <>
                  {items.map((vm) => (
                    <CheckField
                      key={vm.guid}
                      label={vm.name}
                      checked={rules.guids.includes(vm.guid)}
                      onChange={(isOn) => change({ guids: isOn ? [...rules.guids, vm.guid] : rules.guids.filter((guid) => guid !== vm.guid) })}
                    />
                  ))}
                </>
              ) : (
                <p className="muted">The host has not told of any VM yet.</p>
              )
            }
          </Loaded>
        </fieldset>
      )}
      {mode !== "chosen" && (
        <LinesField label="Except names like" placeholder="test*" rows={2} value={rules.exclude} onChange={(exclude) => change({ exclude })} />
      )}
      {error && (
        <p className="field-error" role="alert">
          {error}
        </p>
      )}
    </>
  );
}

type Kind = Schedule["kind"];

interface ScheduleProps {
  schedule: Schedule;
  // The time zone of its tenant.
  zone: string | undefined;
  onChange: (schedule: Schedule) => void;
  sending: Sending;
}

function ScheduleFields({ schedule, zone, onChange, sending }: ScheduleProps) {
  const { time_zone, window, spread_minutes } = schedule;
  const common = { time_zone, window, spread_minutes };
  const meant = time_zone || zone;
  const clock = meant && meant !== OWN_ZONE ? `By the clock of ${meant}; the next runs are told by yours.` : undefined;
  const kinds: Record<Kind, Schedule> = {
    daily: { kind: "daily", at: "22:00", days: null, ...common },
    hourly: { kind: "hourly", every_hours: 4, minute: 0, ...common },
    cron: { kind: "cron", expression: "0 22 * * 1-5", ...common },
    manual: { kind: "manual" },
  };
  return (
    <>
      <Choice<Kind>
        label="How often"
        value={schedule.kind}
        onChange={(kind) => onChange(kinds[kind])}
        options={[
          { value: "daily", name: "On days" },
          { value: "hourly", name: "Every few hours" },
          { value: "cron", name: "Cron" },
          { value: "manual", name: "By hand" },
        ]}
      />
      {schedule.kind === "daily" && (
        <>
          <TextField label="At" type="time" required hint={clock} value={schedule.at} onChange={(at) => onChange({ ...schedule, at })} />
          <fieldset className="days">
            <legend>Days</legend>
            {weekdays.map(({ word, name }) => {
              const days = schedule.days ?? weekdays.map((d) => d.word);
              return (
                <label key={word}>
                  <input
                    type="checkbox"
                    checked={days.includes(word)}
                    onChange={(event) => {
                      const next = weekdays.map((d) => d.word).filter((d) => (d === word ? event.target.checked : days.includes(d)));
                      if (next.length) onChange({ ...schedule, days: next.length === 7 ? null : next });
                    }}
                  />
                  <span>{name}</span>
                </label>
              );
            })}
          </fieldset>
        </>
      )}
      {schedule.kind === "hourly" && (
        <div className="two">
          <NumberField label="Every" unit="h" min={1} max={24} required value={schedule.every_hours} onChange={(n) => onChange({ ...schedule, every_hours: n ?? 1 })} />
          <NumberField label="At minute" min={0} max={59} required value={schedule.minute} onChange={(n) => onChange({ ...schedule, minute: n ?? 0 })} />
        </div>
      )}
      {schedule.kind === "cron" && (
        <TextField
          label="Cron expression"
          required
          spellCheck={false}
          hint={`Minute, hour, day of the month, month, weekday. ${clock ?? ""}`}
          value={schedule.expression}
          onChange={(expression) => onChange({ ...schedule, expression })}
        />
      )}
      {sending.errorOf("schedule") && (
        <p className="field-error" role="alert">
          {sending.errorOf("schedule")}
        </p>
      )}
      {schedule.kind !== "manual" && (
        <details className="more">
          <summary>Time zone, window, spread</summary>
          <TextField
            label="Time zone"
            placeholder={zone}
            hint="Empty: the tenant's."
            value={time_zone ?? ""}
            onChange={(zone) => onChange({ ...schedule, time_zone: zone || null })}
          />
          <CheckField
            label="Start only inside a window"
            checked={Boolean(window)}
            onChange={(isOn) => onChange({ ...schedule, window: isOn ? { from: "20:00", to: "06:00" } : null })}
          />
          {window && (
            <div className="two">
              <TextField label="From" type="time" required value={window.from} onChange={(from) => onChange({ ...schedule, window: { ...window, from } })} />
              <TextField label="To" type="time" required value={window.to} onChange={(to) => onChange({ ...schedule, window: { ...window, to } })} />
            </div>
          )}
          <NumberField
            label="Spread the start over"
            unit="min"
            min={0}
            max={720}
            hint="So that many jobs do not start at once; fixed for this job."
            value={spread_minutes ?? 0}
            onChange={(n) => onChange({ ...schedule, spread_minutes: n ?? 0 })}
          />
        </details>
      )}
    </>
  );
}

const TIERS: { key: keyof Retention; name: string }[] = [
  { key: "hourly", name: "Hourly" },
  { key: "daily", name: "Daily" },
  { key: "weekly", name: "Weekly" },
  { key: "monthly", name: "Monthly" },
  { key: "yearly", name: "Yearly" },
];

// Agents follow either a number of last points, or tiers: never both.
function RetentionFields({ retention, onChange, error }: { retention: Retention; onChange: (retention: Retention) => void; error?: string }) {
  const [mode, setMode] = useState<"tiers" | "last" | "all">(
    retention.keep_last ? "last" : TIERS.some(({ key }) => retention[key]) ? "tiers" : "all",
  );
  const choose = (next: typeof mode) => {
    setMode(next);
    onChange(next === "tiers" ? NEW_JOB.retention : next === "last" ? { keep_last: 14 } : {});
  };
  return (
    <>
      <Choice
        label="Which points stay"
        value={mode}
        onChange={choose}
        options={[
          { value: "tiers", name: "By age", hint: "Many of late, fewer of long ago" },
          { value: "last", name: "The last", hint: "A number of points" },
          { value: "all", name: "All", hint: "Nothing is ever removed" },
        ]}
      />
      {mode === "tiers" && (
        <>
          <div className="six">
            {TIERS.map(({ key, name }) => (
              <NumberField key={key} label={name} min={0} max={1000} value={retention[key] ?? null} onChange={(n) => onChange({ ...retention, [key]: n || null })} />
            ))}
          </div>
          <p className="hint">The newest of an hour, day, week, month or year counts for it. A point stays as long as one of these wants it.</p>
        </>
      )}
      {mode === "last" && (
        <NumberField label="Points" min={1} max={10000} required value={retention.keep_last ?? null} onChange={(n) => onChange({ keep_last: n })} />
      )}
      {error && (
        <p className="field-error" role="alert">
          {error}
        </p>
      )}
    </>
  );
}

function Preview({ form }: { form: JobBody }) {
  const [preview, setPreview] = useState<JobPreview | null>(null);
  const [error, setError] = useState("");
  const asked = JSON.stringify(form);
  // A host that has just been enrolled tells of its VMs a moment later.
  const [again, setAgain] = useState(0);
  const isToldNothing = form.engine === "hyperv" && preview?.vms.length === 0;
  useEffect(() => {
    if (!isToldNothing) return;
    const timer = setInterval(() => setAgain((n) => n + 1), 3000);
    return () => clearInterval(timer);
  }, [isToldNothing]);
  useEffect(() => {
    const ended = new AbortController();
    const timer = setTimeout(() => {
      call<JobPreview>("POST", "/jobs/preview", JSON.parse(asked), ended.signal)
        .then((found) => {
          setPreview(found);
          setError("");
        })
        .catch((cause: Error) => !ended.signal.aborted && setError(cause.message));
    }, 400);
    return () => {
      clearTimeout(timer);
      ended.abort();
    };
  }, [asked, again]);
  const included = preview?.vms.filter((vm) => vm.is_included) ?? [];
  const left = preview?.vms.filter((vm) => !vm.is_included) ?? [];
  return (
    <aside className="preview" aria-label="What this job would do">
      <h2>What it would do</h2>
      <div>
        {error && (
          <p className="field-error" role="alert">
            {error}
          </p>
        )}
        {preview && (
          <>
            {form.engine === "hyperv" && (
              <>
                <h3 aria-live="polite">
                  {included.length} of {count(preview.vms.length, "VM")}
                </h3>
                {isToldNothing && <p className="muted">The host has not told of its VMs yet; it does within a minute.</p>}
                <ul className="tight">
                  {included.slice(0, 12).map((vm) => (
                    <li key={vm.id} title={vm.why}>
                      <Status tone="good">{vm.name}</Status>
                    </li>
                  ))}
                  {included.length > 12 && <li className="muted">and {included.length - 12} more</li>}
                  {left.slice(0, 6).map((vm) => (
                    <li key={vm.id}>
                      <Status tone="excused">
                        {vm.name} <small>{vm.why}</small>
                      </Status>
                    </li>
                  ))}
                  {left.length > 6 && <li className="muted">and {left.length - 6} left out</li>}
                </ul>
              </>
            )}
            <h3>Next runs</h3>
            {preview.next_runs.length ? (
              <ol className="tight">
                {preview.next_runs.slice(0, 5).map((at) => (
                  <li key={at} title={exact(at)}>
                    {moment(at)} <span className="muted">(<Time at={at} />)</span>
                  </li>
                ))}
              </ol>
            ) : (
              <p className="muted">Only when somebody starts it.</p>
            )}
            <h3>Points kept after a year</h3>
            <RetentionPicture kept={preview.retention.kept} />
            <p className="muted">
              {count(preview.retention.kept_count ?? preview.retention.kept.length, "point")} kept, {number(preview.retention.dropped_count)} removed by then.
              {preview.retention.pinned?.length ? ` ${count(preview.retention.pinned.length, "pinned point stays", "pinned points stay")} whatever the rule says.` : ""}
            </p>
          </>
        )}
      </div>
    </aside>
  );
}

// The kept points on a line of time, newest at the right; the past is pressed together.
function RetentionPicture({ kept }: { kept: JobPreview["retention"]["kept"] }) {
  if (kept.length === 0) return null;
  const times = kept.map((point) => Date.parse(point.at));
  const newest = Math.max(...times);
  const days = times.map((time) => (newest - time) / 86_400_000);
  const most = Math.log1p(Math.max(...days, 1));
  const marks = days.map((n) => `M${(296 - (Math.log1p(n) / most) * 292).toFixed(1)} 4v16`).join("");
  return (
    <details className="kept">
      <summary>
        <svg viewBox="0 0 300 24" role="img" aria-label={`${kept.length} points on a line of time`}>
          <path d="M0 20.5h300" className="base" />
          <path d={marks} className="points" />
        </svg>
        <span className="span" aria-hidden="true">
          <span>{moment(new Date(Math.min(...times)).toISOString())}</span>
          <span>newest</span>
        </span>
      </summary>
      <ul className="tight scroll">
        {kept.map((point) => (
          <li key={point.at}>
            {moment(point.at)} <span className="muted">{point.reasons.join(", ")}</span>
          </li>
        ))}
      </ul>
    </details>
  );
}
