// The first screen: what needs a decision, then every VM.

import { useDeferredValue, useMemo } from "react";
import { type Alarm, type Health, type Host, type Overview, type Run, type StoredDay, type VmRow, VMS_MAX } from "../api";
import { capital, count, day, duration, moment, number, size } from "../format";
import { useGet, useList, useSettled } from "../fetching";
import { Link, useQueryValue } from "../route";
import { useMay } from "../session";
import { Chart } from "../ui/chart";
import { Empty, Fact, Loaded, Meter, Page, Panel, Size, Time } from "../ui/parts";
import { BY_URGENCY, HealthStatus, healthName, healthOrder, healthTone, Icon, RunStatusMark, Strip, type Tone } from "../ui/status";
import { type Column, Table } from "../ui/table";
import { AlarmList } from "./alarms";
import { runName } from "./runs";

export function ProtectionScreen() {
  const overview = useGet<Overview>("/overview", { every: 30_000 });
  const stored = useGet<{ days: StoredDay[] }>("/stored", { every: 300_000 }).data?.days ?? [];
  return (
    <Page title="Protection" lead={overview.error ? "The server does not answer: what stands here is old." : overview.data && <Verdict overview={overview.data} />}>
      <Loaded from={overview}>
        {(data) => (
          <>
            <SetupNote setup={data.setup} />
            <Decisions alarms={data.decisions} />
            {data.running.length > 0 && <Running runs={data.running} />}
            {data.setup.has_point && <Figures overview={data} stored={stored} />}
            <Vms overview={data} />
            {stored.filter((d) => d.stored_bytes).length > 2 && <Stored stored={stored} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

// The answer that people come for, in one line.
function Verdict({ overview: { counts } }: { overview: Overview }) {
  if (counts.vms === 0) return <>No VMs are known yet.</>;
  const wanted = counts.vms - counts.excused;
  const worst = BY_URGENCY.find((health) => counts[health] > 0) ?? "good";
  const tone: Tone = counts.good === wanted ? "good" : healthTone(worst);
  return (
    <span className="verdict">
      <span className={`tone-${tone}`}>
        <Icon kind={tone} />
      </span>
      <strong>
        {wanted === 0 ? "No VM needs a backup" : counts.good === wanted ? (wanted === 1 ? "The VM is safe" : `All ${number(wanted)} VMs are safe`) : `${number(counts.good)} of ${count(wanted, "VM")} ${counts.good === 1 || wanted === 1 ? "is" : "are"} safe`}
      </strong>
      {counts.hosts_online < counts.hosts && <Link href="/hosts">{count(counts.hosts - counts.hosts_online, "host")} silent</Link>}
    </span>
  );
}

function SetupNote({ setup }: { setup: Overview["setup"] }) {
  const may = useMay();
  const done = Object.values(setup).filter(Boolean).length;
  if (done === 4 || !may.operate) return null;
  return (
    <div className="note">
      <p>
        <strong>{done === 0 ? "Nothing is backed up yet." : `Set up: ${done} of 4 steps ${done === 1 ? "is" : "are"} done.`}</strong> The guide leads you to
        the first backup.
      </p>
      <Link href="/guide" className="button primary">
        {done === 0 ? "Start the guide" : "Go on"}
      </Link>
    </div>
  );
}

function Decisions({ alarms }: { alarms: Alarm[] }) {
  const [isAll, setAll] = useQueryValue("decisions");
  if (alarms.length === 0) return null;
  const shown = isAll ? alarms : alarms.slice(0, 4);
  return (
    <Panel
      title={`Needs a decision (${number(alarms.length)})`}
      className={`decisions worst-${alarms.some((alarm) => alarm.severity === "critical") ? "bad" : "warning"}`}
      actions={
        alarms.length > 4 && (
          <button type="button" className="quiet" aria-expanded={Boolean(isAll)} onClick={() => setAll(isAll ? "" : "all")}>
            {isAll ? "Show fewer" : `Show all ${number(alarms.length)}`}
          </button>
        )
      }
    >
      <AlarmList alarms={shown} />
    </Panel>
  );
}

function Running({ runs }: { runs: Run[] }) {
  return (
    <Panel title="Going on now">
      <ul className="running">
        {runs.map((run) => (
          <li key={run.id}>
            <RunStatusMark status={run.status} />
            <Link href={`/runs/${run.id}`}>{runName(run)}</Link>
            <span className="muted">{run.host_name}</span>
            <Meter value={run.progress_pct} label={`Progress of ${runName(run)}`} />
            <span className="figure">
              {Math.floor(run.progress_pct)} %{run.speed_bytes_per_sec > 0 && `, ${size(run.speed_bytes_per_sec)}/s`}
              {run.eta_seconds > 0 && `, ${duration(run.eta_seconds)} left`}
            </span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

// What an administrator asks next: how many are safe, is it proven, when does it go on, what does it cost.
function Figures({ overview: { counts, oldest_last_point_at, next_run_at }, stored }: { overview: Overview; stored: StoredDay[] }) {
  const last = [...stored].reverse().find((d) => d.stored_bytes);
  return (
    <Panel className="figures">
      <div className="share">
        <p className="muted">
          {count(counts.vms - counts.excused, "VM")} on {count(counts.hosts, "host")}
        </p>
        <Shares counts={counts} />
      </div>
      <dl>
        <Fact name="Oldest last point">
          <strong>
            <Time at={oldest_last_point_at} none="none" />
          </strong>
          <small>of the protected VMs</small>
        </Fact>
        <Fact name="Proven in 30 days">
          <strong className="figure">
            {number(counts.proven)} of {number(counts.with_point)}
          </strong>
          <small>read back or restored</small>
        </Fact>
        <Fact name="Next run">
          <strong>
            <Time at={next_run_at} none="none" />
          </strong>
          {next_run_at && <small>{moment(next_run_at)}</small>}
        </Fact>
        {last && (
          <Fact name="Stored">
            <strong>
              <Size bytes={last.stored_bytes} />
            </strong>
            <small>for {size(last.source_bytes)} of disks</small>
          </Fact>
        )}
      </dl>
    </Panel>
  );
}

// How many VMs are how safe, as one bar; each part says its number and leads to its rows.
function Shares({ counts }: { counts: Overview["counts"] }) {
  const [, setHealth] = useQueryValue("health", "all");
  const parts = BY_URGENCY.filter((health) => health !== "excused" && counts[health] > 0)
    .map((health) => ({ health, n: counts[health] }))
    .reverse();
  const all = counts.vms - counts.excused;
  let x = 0;
  return (
    <>
      <svg viewBox="0 0 300 10" preserveAspectRatio="none" className="shares" aria-hidden="true">
        {parts.map(({ health, n }) => {
          const w = (n / Math.max(1, all)) * 300;
          x += w;
          return <rect key={health} x={x - w} width={Math.max(0, w - (x < 299 ? 2 : 0))} height="10" className={`share-${health}`} />;
        })}
      </svg>
      <ul>
        {parts.map(({ health, n }) => (
          <li key={health}>
            <button type="button" className={`link tone-${healthTone(health)}`} onClick={() => setHealth(health)}>
              <Icon kind={healthTone(health)} /> {number(n)} {healthName(health).toLowerCase()}
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

const time = (at: string | null) => (at ? Date.parse(at) : 0);

const COLUMNS: Column<VmRow>[] = [
  { head: "Health", className: "mark", by: healthOrder, cell: (vm) => <HealthStatus health={vm.health} reason={vm.health_reason} /> },
  {
    head: "VM",
    by: (vm) => vm.name,
    isName: true,
    cell: (vm) => (
      <>
        <Link href={`/vms/${vm.id}`}>{vm.name}</Link>
        {vm.health !== "good" && vm.health_reason && <small>{capital(vm.health_reason)}</small>}
      </>
    ),
  },
  { head: "Host", className: "nowrap", by: (vm) => vm.host_name, cell: (vm) => <Link href={`/hosts/${vm.host_id}`} className="plain">{vm.host_name}</Link> },
  { head: "Last 30 days", className: "strip-cell", cell: (vm) => <Strip strip={vm.strip} /> },
  { head: "Last point", by: (vm) => time(vm.last_point_at), cell: (vm) => <Time at={vm.last_point_at} none="none" /> },
  { head: "Last proven", by: (vm) => time(vm.last_proven_at), cell: (vm) => <Time at={vm.last_proven_at} /> },
  { head: "Size", isNumber: true, by: (vm) => vm.size_bytes ?? -1, cell: (vm) => <Size bytes={vm.size_bytes} /> },
  {
    head: "Changes a day",
    isNumber: true,
    by: (vm) => vm.change_rate_bytes_per_day ?? -1,
    cell: (vm) => <Size bytes={vm.change_rate_bytes_per_day} />,
  },
  { head: "Next run", by: (vm) => time(vm.next_run_at) || Infinity, cell: (vm) => <Time at={vm.next_run_at} none="none" /> },
];

// The VMs that are looked for. Of more than come with the first screen the server looks, by what is asked for.
function useFound({ vms, counts }: Overview, host: string, health: string, words: string) {
  const isHere = vms.length === counts.vms;
  const sought = useDeferredValue(words.trim().toLowerCase());
  const asked = useSettled(words.trim());
  const query = new URLSearchParams({ ...(asked && { q: asked }), ...(host && { host_id: host }), ...(health !== "all" && { health }) });
  const isAsked = !isHere && query.size > 0;
  const answer = useList<VmRow>(`/vms?${query.toString()}`, { enabled: isAsked, keepsShown: true, every: 30_000, most: VMS_MAX });
  const hosts = useList<Host>("/hosts", { enabled: !isHere });
  const found = useMemo(
    () =>
      vms
        .filter(
          (vm) =>
            (!host || vm.host_id === host) &&
            (!sought || `${vm.name} ${vm.host_name} ${vm.health_reason}`.toLowerCase().includes(sought)),
        )
        .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true })),
    [vms, host, sought],
  );
  const shown = useMemo(() => found.filter((vm) => health === "all" || vm.health === health), [found, health]);
  return {
    shown: (isAsked && answer.data) || shown,
    error: isAsked ? answer.error : null,
    isLooking: isAsked && answer.isPending,
    hosts: useMemo(
      () => (isHere ? [...new Map(vms.map((vm) => [vm.host_id, vm.host_name]))] : (hosts.data ?? []).map(({ id, name }) => [id, name])),
      [isHere, vms, hosts.data],
    ),
    many: (of: "all" | Health) =>
      isHere ? (of === "all" ? found : found.filter((vm) => vm.health === of)).length : of === "all" ? counts.vms : counts[of],
    // Which are shown, where not all are.
    cut: isHere ? "" : !isAsked ? "those that need a look first" : (answer.data?.length ?? 0) >= VMS_MAX ? "the first by name" : "",
  };
}

function Vms({ overview }: { overview: Overview }) {
  const may = useMay();
  const [words, setWords] = useQueryValue("q");
  const [health, setHealth] = useQueryValue("health", "all");
  const [host, setHost] = useQueryValue("host");
  const [sort, setSort] = useQueryValue("sort", "Health");
  const { shown, error, isLooking, hosts, many, cut } = useFound(overview, host, health, words);
  if (overview.counts.vms === 0) {
    return (
      <Panel title="VMs">
        <Empty title="No VMs yet" action={may.operate && <Link href="/guide">Enrol a host</Link>}>
          As soon as an agent runs on a Hyper-V host, every VM of it appears here by itself, with what protects it.
        </Empty>
      </Panel>
    );
  }
  return (
    <Panel title="VMs" className="flush">
      <div className="filters">
        <input type="search" aria-label="Search VMs" placeholder="Search VMs" value={words} onChange={(event) => setWords(event.target.value)} />
        {hosts.length > 1 && (
          <select aria-label="Host" value={host} onChange={(event) => setHost(event.target.value)}>
            <option value="">All hosts</option>
            {hosts.map(([id, name]) => (
              <option key={id} value={id}>
                {name}
              </option>
            ))}
          </select>
        )}
        <div className="chips" role="group" aria-label="Health">
          {(["all", ...BY_URGENCY] as const).map((filter) => {
            const n = many(filter);
            if (n === 0 && filter !== "all" && filter !== health) return null;
            return (
              <button key={filter} type="button" aria-pressed={health === filter} onClick={() => setHealth(filter)}>
                {filter === "all" ? "All" : healthName(filter)} <span className="figure">{number(n)}</span>
              </button>
            );
          })}
        </div>
        <StripLegend />
      </div>
      <Table
        label="VMs and their protection"
        rows={shown}
        columns={hosts.length > 1 ? COLUMNS : COLUMNS.filter((column) => column.head !== "Host")}
        keyOf={(vm) => vm.id}
        sort={sort}
        onSort={setSort}
        empty={
          error ? (
            <Empty title="The VMs cannot be shown">{error.message}</Empty>
          ) : isLooking ? (
            <Empty title="Looking">The server looks at all VMs.</Empty>
          ) : (
            <Empty title="No VM is like this">Change the search or the filter.</Empty>
          )
        }
      />
      {cut && (
        <p className="muted cut">
          {number(shown.length)} of {number(overview.counts.vms)} VMs are shown, {cut}. Search or filter to see others.
        </p>
      )}
    </Panel>
  );
}

const KEY: [string, "good" | "warning" | "missed" | "failed"][] = [
  ["good", "good"],
  ["warnings", "warning"],
  ["missed", "missed"],
  ["failed", "failed"],
];

const StripLegend = () => (
  <span className="strip-legend">
    {KEY.map(([name, outcome]) => (
      <span key={outcome}>
        <Strip strip={[{ day: "2026-01-01", outcome, run_id: null }]} />
        {name}
      </span>
    ))}
  </span>
);

// How much less is stored, with all points, than the disks of the last points are large.
const savedPercent = ({ stored_bytes, source_bytes }: StoredDay) =>
  source_bytes ? Math.max(0, 1 - (stored_bytes ?? 0) / source_bytes) * 100 : 0;

function Stored({ stored }: { stored: StoredDay[] }) {
  const known = stored.filter((d) => d.stored_bytes !== null);
  const labels = known.map((d) => day(d.day));
  return (
    <div className="columns">
      <Panel title="Stored in repositories">
        <Chart title="30 days" labels={labels} show={size} series={{ name: "In repositories", className: "series-1", values: known.map((d) => d.stored_bytes ?? 0) }} />
      </Panel>
      <Panel title="Saved">
        <Chart
          title="Against one plain copy"
          unit="percent"
          labels={labels}
          show={(percent) => `${percent.toFixed(1)} %`}
          note={(i) => `${size(known[i].stored_bytes)} for ${size(known[i].source_bytes)} of disks`}
          series={{ name: "Saved", className: "series-2", values: known.map(savedPercent) }}
        />
      </Panel>
    </div>
  );
}
