// Jobs: what is backed up, when, to where.

import { call, type Job, type Run } from "../api";
import { engineName, scheduleText } from "../format";
import { useAct, useList } from "../fetching";
import { go, Link } from "../route";
import { useMay, useZoneOf } from "../session";
import { Empty, Loaded, Page, Panel, Time } from "../ui/parts";
import { RunStatusMark, Status } from "../ui/status";
import { Table } from "../ui/table";

// When a job runs, in words.
export const ScheduleWords = ({ job }: { job: Job }) => <>{scheduleText(job.schedule, useZoneOf(job.tenant_id))}</>;

// What a job covers, in a few words.
export function coverage(job: Pick<Job, "engine" | "vms" | "sources">): string {
  if (job.engine !== "hyperv") return job.sources.join(", ") || "nothing";
  const { all, guids, include, exclude } = job.vms;
  const parts = all ? ["all VMs"] : [guids.length && `${guids.length} chosen`, include.length && `names like ${include.join(", ")}`].filter(Boolean);
  return `${parts.join(" and ") || "no VM"}${exclude.length ? `, without ${exclude.join(", ")}` : ""}`;
}

export function useRunJob() {
  return useAct(
    async (id: string) => {
      const run = await call<Run>("POST", `/jobs/${id}/runs`, {});
      go(`/runs/${run.id}`);
    },
    { again: ["/jobs", "/runs", "/overview"] },
  );
}

export function JobsScreen() {
  const jobs = useList<Job>("/jobs");
  const may = useMay();
  const run = useRunJob();
  const add = may.operate && (
    <Link href="/jobs/new" className="button primary">
      New job
    </Link>
  );
  return (
    <Page title="Jobs" lead="What is backed up, when, and to where." actions={add}>
      <Panel className="flush">
        <Loaded from={jobs}>
          {(items) => (
            <Table
              label="Jobs"
              rows={items}
              keyOf={(job) => job.id}
              empty={
                <Empty title="No job yet" action={add}>
                  A job takes all VMs of a host, or those whose names match, so that new VMs are protected by themselves.
                </Empty>
              }
              columns={[
                {
                  head: "Last run",
                  className: "mark",
                  by: (job) => job.last_run?.status ?? "",
                  cell: (job) =>
                    job.last_run ? (
                      <Link href={`/runs/${job.last_run.id}`} className="plain">
                        <RunStatusMark status={job.last_run.status} title={job.last_run.error_summary} />
                      </Link>
                    ) : (
                      <Status tone="calm">Never ran</Status>
                    ),
                },
                {
                  head: "Job",
                  isName: true,
                  by: (job) => job.name,
                  cell: (job) => (
                    <>
                      <Link href={`/jobs/${job.id}`}>{job.name}</Link>
                      <small>
                        {engineName(job.engine)}: {coverage(job)}
                      </small>
                    </>
                  ),
                },
                { head: "Host", className: "nowrap", by: (job) => job.host_name, cell: (job) => job.host_name },
                { head: "Repository", by: (job) => job.repository_name, cell: (job) => job.repository_name },
                { head: "Schedule", className: "wordy", cell: (job) => (job.status === "paused" ? <Status tone="excused">Paused</Status> : <ScheduleWords job={job} />) },
                {
                  head: "Next run",
                  by: (job) => job.next_run_at ?? "9",
                  cell: (job) => <Time at={job.next_run_at} none="none" />,
                },
                {
                  head: "Run",
                  className: "end",
                  cell: (job) =>
                    may.operate && (
                      <button type="button" className="small" aria-label={`Run ${job.name} now`} disabled={run.isPending} onClick={() => run.mutate(job.id)}>
                        Run now
                      </button>
                    ),
                },
              ]}
            />
          )}
        </Loaded>
      </Panel>
    </Page>
  );
}
