// A job: what it does, and how its runs went.

import { call, type Job, type Run } from "../api";
import { capital, consistencyName, duration, engineName, moment, retentionText, size } from "../format";
import { useAct, useGet, useList } from "../fetching";
import { go, Link } from "../route";
import { useMay } from "../session";
import { Chart } from "../ui/chart";
import { ConfirmButton } from "../ui/dialog";
import { Fact, Facts, Loaded, Page, Panel, Time } from "../ui/parts";
import { RunStatusMark, Status } from "../ui/status";
import { coverage, useRunJob, ScheduleWords } from "./jobs";
import { RunTable } from "./runs";

const seconds = (run: Run) => (run.started_at && run.finished_at ? (Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000 : 0);

export function JobScreen({ id }: { id: string }) {
  const job = useGet<Job>(`/jobs/${id}`);
  const runs = useList<Run>(`/runs?job_id=${id}`);
  const may = useMay();
  const run = useRunJob();
  const change = useAct((status: string) => call("PATCH", `/jobs/${id}`, { status }), { again: ["/jobs", "/overview", "/vms"] });
  const remove = useAct(() => call("DELETE", `/jobs/${id}`), { done: "Removed.", again: ["/jobs", "/overview", "/vms"] });
  const isPaused = job.data?.status === "paused";
  const drawn = (runs.data ?? []).filter((r) => r.kind === "backup" && r.finished_at && r.started_at).slice(0, 30).reverse();
  return (
    <Page
      title={job.data?.name ?? "Job"}
      crumbs={[{ href: "/jobs", name: "Jobs" }]}
      lead={
        job.data && (
          <>
            {isPaused ? (
              <Status tone="excused">Paused</Status>
            ) : job.data.last_run ? (
              <RunStatusMark status={job.data.last_run.status} />
            ) : (
              <Status tone="calm">Never ran</Status>
            )}{" "}
            Next run <Time at={job.data.next_run_at} none="none" />.
          </>
        )
      }
      actions={
        may.operate && (
          <>
            <button type="button" onClick={() => change.mutate(isPaused ? "active" : "paused")}>
              {isPaused ? "Go on" : "Pause"}
            </button>
            <Link href={`/jobs/${id}/edit`} className="button">
              Edit
            </Link>
            <button type="button" className="primary" disabled={run.isPending} onClick={() => run.mutate(id)}>
              Run now
            </button>
          </>
        )
      }
    >
      <Loaded from={job}>
        {(data) => (
          <>
            <Panel title="What it does">
              <Facts>
                <Fact name="Covers">
                  {capital(coverage(data))}
                  <small>{engineName(data.engine)}</small>
                </Fact>
                <Fact name="Host">
                  <Link href={`/hosts/${data.host_id}`}>{data.host_name}</Link>
                </Fact>
                <Fact name="Repository">
                  <Link href={`/repositories/${data.repository_id}`}>{data.repository_name}</Link>
                </Fact>
                <Fact name="Schedule">
                  <ScheduleWords job={data} />
                </Fact>
                <Fact name="Retention">{retentionText(data.retention)}</Fact>
                {data.engine === "hyperv" && <Fact name="Consistency">{consistencyName(data.consistency) || data.consistency}</Fact>}
                <Fact name="Objective">{data.objective_hours ? `A good point every ${data.objective_hours} h` : "None"}</Fact>
                {data.bandwidth_kib_s > 0 && <Fact name="Bandwidth">{size(data.bandwidth_kib_s * 1024)}/s at most</Fact>}
              </Facts>
            </Panel>
            {drawn.length > 2 && (
              <div className="columns">
                <Panel title="Durations">
                  <Chart title="The last runs" kind="bars" unit="time" labels={drawn.map((r) => moment(r.created_at))} show={duration} series={{ name: "Duration", className: "series-2", values: drawn.map(seconds) }} />
                </Panel>
                <Panel title="Uploaded">
                  <Chart title="The last runs" kind="bars" labels={drawn.map((r) => moment(r.created_at))} show={size} series={{ name: "Uploaded", className: "series-1", values: drawn.map((r) => r.bytes_transferred) }} />
                </Panel>
              </div>
            )}
            <Panel title="Runs" className="flush">
              <Loaded from={runs}>{(items) => <RunTable runs={items} hideJob />}</Loaded>
            </Panel>
            {may.operate && (
              <p className="below">
                <ConfirmButton
                  className="danger-quiet"
                  label="Remove this job…"
                  confirm="Remove the job"
                  title={`Remove ${data.name}?`}
                  onConfirm={async () => {
                    await remove.mutateAsync(undefined);
                    go("/jobs");
                  }}
                >
                  <p>It no longer runs, and what it protected is unprotected unless another job covers it. Its points stay.</p>
                </ConfirmButton>
              </p>
            )}
          </>
        )}
      </Loaded>
    </Page>
  );
}
