// Runs: backups and restores, going on, done, and missed.

import { type Run, runsStill } from "../api";
import { capital, duration, moment, plain } from "../format";
import { useList } from "../fetching";
import { Link, useQueryValue } from "../route";
import { serverNow } from "../server_time";
import { Empty, Loaded, Meter, Page, Panel, Size, Time, When } from "../ui/parts";
import { RunStatusMark, runStatusName } from "../ui/status";
import { Table } from "../ui/table";

export const kindName = (kind: string) => (kind === "backup" ? "Backup" : "Restore");

export function runName({ kind, job_name }: Run): string {
  if (kind === "backup") return job_name ?? "Backup";
  return job_name ? `Restore from ${job_name}` : "Restore";
}

export const runMoment = (run: Run) => run.scheduled_for ?? run.created_at;

// A run that never began read nothing and moved nothing: that is no figure.
const begun = (run: Run, bytes: number) => (run.started_at ? bytes : null);

export function runSeconds(run: Run, now = serverNow()): number | null {
  if (!run.started_at) return null;
  return ((run.finished_at ? Date.parse(run.finished_at) : now) - Date.parse(run.started_at)) / 1000;
}

export function RunTable({ runs, hideJob }: { runs: Run[]; hideJob?: boolean }) {
  return (
    <Table
      label="Runs, newest first"
      rows={runs}
      keyOf={(run) => run.id}
      empty={<Empty title="No runs">What a job did, and what it should have done, stands here.</Empty>}
      columns={[
        { head: "Outcome", className: "mark", by: (run) => run.status, cell: (run) => <RunStatusMark status={run.status} title={run.error_summary} /> },
        {
          head: hideJob ? "When" : "Run",
          isName: true,
          by: (run) => (hideJob ? runMoment(run) : runName(run)),
          cell: (run) => (
            <>
              <Link href={`/runs/${run.id}`}>{hideJob ? moment(runMoment(run)) : runName(run)}</Link>
              {hideJob && (
                <small>
                  <Time at={runMoment(run)} />
                </small>
              )}
              {run.error_summary && <small>{capital(run.error_summary)}</small>}
              {runsStill(run.status) && run.status !== "queued" && <Meter value={run.progress_pct} label="Progress" />}
            </>
          ),
        },
        { head: "Kind", by: (run) => run.kind, cell: (run) => kindName(run.kind) },
        ...(hideJob ? [] : [{ head: "Host", className: "nowrap", by: (run: Run) => run.host_name, cell: (run: Run) => run.host_name }]),
        ...(hideJob ? [] : [{ head: "When", by: runMoment, cell: (run: Run) => <When at={runMoment(run)} /> }]),
        { head: "Asked by", className: "aside", cell: (run) => (run.trigger === "schedule" ? "Schedule" : capital(run.requested_by) || plain(run.trigger)) },
        { head: "Took", isNumber: true, by: (run) => runSeconds(run) ?? -1, cell: (run) => (runSeconds(run) === null ? "–" : duration(runSeconds(run) ?? 0)) },
        { head: "Read", isNumber: true, by: (run) => run.bytes_processed, cell: (run) => <Size bytes={begun(run, run.bytes_processed)} /> },
        { head: "Moved", isNumber: true, by: (run) => run.bytes_transferred, cell: (run) => <Size bytes={begun(run, run.bytes_transferred)} /> },
      ]}
    />
  );
}

const STATES: Run["status"][] = ["running", "starting", "queued", "success", "warning", "partial_success", "failed", "missed", "cancelled"];

export function RunsScreen() {
  const [status, setStatus] = useQueryValue("status");
  const [kind, setKind] = useQueryValue("kind");
  const since = new Date(Math.floor(serverNow() / 86_400_000 - 30) * 86_400_000).toISOString();
  const query = new URLSearchParams({ from: since, ...(status && { status }), ...(kind && { kind }) });
  const runs = useList<Run>(`/runs?${query.toString()}`, { every: 15_000 });
  return (
    <Page title="Runs" lead="The last 30 days.">
      <div className="filters">
        <select aria-label="Outcome" value={status} onChange={(event) => setStatus(event.target.value)}>
          <option value="">Every outcome</option>
          {STATES.map((word) => (
            <option key={word} value={word}>
              {runStatusName(word)}
            </option>
          ))}
        </select>
        <select aria-label="Kind" value={kind} onChange={(event) => setKind(event.target.value)}>
          <option value="">Backups and restores</option>
          <option value="backup">Backups</option>
          <option value="restore">Restores of files</option>
          <option value="hyperv_restore">Restores of VMs</option>
        </select>
      </div>
      <Panel className="flush">
        <Loaded from={runs}>{(items) => <RunTable runs={items} />}</Loaded>
      </Panel>
    </Page>
  );
}
