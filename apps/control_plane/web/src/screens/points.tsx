// Every point that can be restored, of VMs and of files.

import { useState } from "react";
import type { Host, Job, Point } from "../api";
import { consistencyName, engineName, moment, plain } from "../format";
import { useGet, useList, useSettled } from "../fetching";
import { Link, useQueryValue } from "../route";
import { useMay } from "../session";
import { Empty, Loaded, Page, Panel, Size, When } from "../ui/parts";
import { Table } from "../ui/table";
import { RestoreDialog } from "./restore";
import { PointProof } from "./vm";

export function PointsScreen() {
  const [words, setWords] = useQueryValue("q");
  const [hostId, setHost] = useQueryValue("host");
  const [engine, setEngine] = useQueryValue("engine");
  const [jobId, setJob] = useQueryValue("job");
  const job = useGet<Job>(`/jobs/${jobId}`, { enabled: jobId !== "" });
  const [restoring, setRestoring] = useState<Point | null>(null);
  const hosts = useList<Host>("/hosts");
  const may = useMay();
  const sought = useSettled(words.trim());
  const query = new URLSearchParams({
    is_removed: "false",
    ...(sought && { q: sought }),
    ...(hostId && { host_id: hostId }),
    ...(engine && { engine }),
    ...(jobId && { job_id: jobId }),
  });
  const points = useList<Point>(`/points?${query.toString()}`, { keepsShown: true });
  const isNarrowed = Boolean(sought || hostId || engine || jobId);
  return (
    <Page title="Restore" lead="Choose what to go back to. Nothing that is there now is touched.">
      <div className="filters">
        <input type="search" aria-label="Search points" placeholder="VM or folder" value={words} onChange={(event) => setWords(event.target.value)} />
        <select aria-label="Host" value={hostId} onChange={(event) => setHost(event.target.value)}>
          <option value="">All hosts</option>
          {hosts.data?.map((host) => (
            <option key={host.id} value={host.id}>
              {host.name}
            </option>
          ))}
        </select>
        <select aria-label="Kind" value={engine} onChange={(event) => setEngine(event.target.value)}>
          <option value="">VMs, files and disks</option>
          {["hyperv", "kopia", "disk_image"].map((word) => (
            <option key={word} value={word}>
              {engineName(word)}
            </option>
          ))}
        </select>
        {jobId && (
          <button type="button" onClick={() => setJob("")}>
            Of {job.data?.name ?? "one job"} alone: show all
          </button>
        )}
      </div>
      <Panel className="flush">
        <Loaded from={points}>
          {(items) => (
            <Table
              label="Restore points, newest first"
              rows={items}
              keyOf={(point) => point.id}
              empty={
                <Empty title={isNarrowed ? "No point is like this" : "No points yet"}>
                  {isNarrowed ? "Change the search or the filter." : "Every good run of a job leaves points that can be restored from here."}
                </Empty>
              }
              columns={[
                {
                  head: "What",
                  isName: true,
                  by: (point) => point.name,
                  cell: (point) => (point.vm_id !== null ? <Link href={`/vms/${point.vm_id}`}>{point.name}</Link> : point.name),
                },
                {
                  head: "Made",
                  by: (point) => point.created_at,
                  cell: (point) => <When at={point.created_at} />,
                },
                {
                  head: "From",
                  by: (point) => point.host_name,
                  cell: (point) => (
                    <>
                      {point.host_name}
                      <small>{point.repository_name}</small>
                    </>
                  ),
                },
                {
                  head: "Kind",
                  className: "wordy clear",
                  cell: (point) => (
                    <>
                      {point.backup_type ? plain(point.backup_type.toLowerCase()) : engineName(point.engine)}
                      <small>{consistencyName(point.consistency)}</small>
                    </>
                  ),
                },
                { head: "Size", isNumber: true, by: (point) => point.total_bytes, cell: (point) => <Size bytes={point.total_bytes} /> },
                { head: "Proof", className: "wordy clear nowrap", cell: (point) => <PointProof point={point} /> },
                {
                  head: "Restore",
                  className: "end",
                  cell: (point) =>
                    may.operate && (
                      <button type="button" className="small" aria-label={`Restore ${point.name} as it was ${moment(point.created_at)}`} onClick={() => setRestoring(point)}>
                        Restore…
                      </button>
                    ),
                },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {restoring && <RestoreDialog point={restoring} onClose={() => setRestoring(null)} />}
    </Page>
  );
}
