// A VM: how safe it is and why, its points, and the way back from any of them.

import { useState } from "react";
import { call, type Command, commandDone, type Host, type Job, type Point, type Vm } from "../api";
import { baseName, capital, consistencyName, count, duration, exact, moment, plain, proofName, size } from "../format";
import { refresh, useAct, useGet, useList } from "../fetching";
import { pinningHost } from "../reach";
import { go, Link } from "../route";
import { useMay } from "../session";
import { Chart } from "../ui/chart";
import { Dialog, DialogFooter } from "../ui/dialog";
import { CheckField, FormError, NumberField, useSending } from "../ui/form";
import { Empty, Fact, Facts, Loaded, Page, Panel, Size, Time } from "../ui/parts";
import { HealthStatus, Status } from "../ui/status";
import { Table } from "../ui/table";
import { Timeline } from "../ui/timeline";
import { RestoreDialog } from "./restore";

export function VmScreen({ id }: { id: string }) {
  const vm = useGet<Vm>(`/vms/${id}`);
  const points = useList<Point>(`/vms/${id}/points`);
  const [restoring, setRestoring] = useState<Point | null>(null);
  const [isEditing, setEditing] = useState(false);
  const may = useMay();
  const newest = points.data?.find((point) => !point.expired_at);
  return (
    <Page
      title={vm.data?.name ?? "VM"}
      crumbs={[{ href: "/", name: "Protection" }]}
      lead={
        vm.data && (
          <>
            <HealthStatus health={vm.data.health} /> {capital(vm.data.health_reason)}
          </>
        )
      }
      actions={
        may.operate && (
          <>
            <button type="button" onClick={() => setEditing(true)}>
              What it needs…
            </button>
            {newest ? (
              <button type="button" className="primary" onClick={() => setRestoring(newest)}>
                Restore the newest…
              </button>
            ) : (
              vm.data?.health === "unprotected" && (
                <Link href={`/jobs/new?host=${vm.data.host_id}`} className="button primary">
                  Protect it
                </Link>
              )
            )}
          </>
        )
      }
    >
      <Loaded from={vm}>
        {(data) => (
          <>
            <Panel title="Last 30 days" className="wide-strip">
              <Timeline strip={data.strip} onDay={(day) => day.run_id && go(`/runs/${day.run_id}`)} />
              <Facts>
                <Fact name="Last point">
                  <Time at={data.last_point_at} none="none" />
                  {data.last_consistency && <small>{consistencyName(data.last_consistency)}</small>}
                </Fact>
                <Fact name="Last proven">
                  <Time at={data.last_proven_at} />
                </Fact>
                <Fact name="Objective">
                  {data.is_excused ? "excused" : data.objective_hours ? `a point every ${data.objective_hours} h` : "none"}
                </Fact>
                <Fact name="Next run">
                  <Time at={data.next_run_at} none="none" />
                </Fact>
                <Fact name="Changes a day">
                  <Size bytes={data.change_rate_bytes_per_day} />
                </Fact>
                <Fact name="Protected by">
                  {data.job_ids.length ? <Jobs ids={data.job_ids} /> : may.operate ? <Link href={`/jobs/new?host=${data.host_id}`}>nothing: make a job</Link> : "nothing"}
                </Fact>
              </Facts>
            </Panel>
            <Loaded from={points}>{(items) => <Points points={items} onRestore={setRestoring} />}</Loaded>
            <Machine vm={data} />
            {isEditing && <ObjectiveDialog vm={data} onClose={() => setEditing(false)} />}
          </>
        )}
      </Loaded>
      {restoring && <RestoreDialog point={restoring} onClose={() => setRestoring(null)} />}
    </Page>
  );
}

function Jobs({ ids }: { ids: string[] }) {
  const jobs = useList<Job>("/jobs");
  return (
    <ul>
      {ids.map((id) => (
        <li key={id}>
          <Link href={`/jobs/${id}`}>{jobs.data?.find((job) => job.id === id)?.name ?? "a job"}</Link>
        </li>
      ))}
    </ul>
  );
}

export function PointProof({ point }: { point: Point }) {
  if (point.expired_at) return <Status tone="excused">Removed</Status>;
  if (point.unconfirmed_since) {
    return (
      <Status tone="warning" title="No agent has confirmed since then that it is in the repository; those before 2.0 never do. If it is gone, a restore fails and says so.">
        Not confirmed since <Time at={point.unconfirmed_since} />
      </Status>
    );
  }
  if (!point.proven_at) return <Status tone="calm">Not proven yet</Status>;
  return (
    <Status tone="good" title={`${exact(point.proven_at)}: ${proofName(point.proven_how)}`}>
      Proven <Time at={point.proven_at} />
    </Status>
  );
}

// Whether retention leaves a point alone. Pins are in the repository, so a host sets them.
function Pin({ point }: { point: Point }) {
  const pin = useAct(
    async (is_pinned: boolean) =>
      commandDone(await call<Command>("POST", `/points/${point.id}/pin`, { is_pinned, host_id: await pinningHost(point) })),
    { done: () => (point.is_pinned ? "Unpinned: retention may remove it." : "Pinned: it stays whatever retention says."), again: ["/points", "/vms"] },
  );
  return (
    <button
      type="button"
      className="small"
      disabled={pin.isPending}
      aria-label={`${point.is_pinned ? "Unpin" : "Pin"} the point of ${moment(point.created_at)}`}
      title="A pinned point stays, whatever retention says."
      onClick={() => pin.mutate(!point.is_pinned)}
    >
      {pin.isPending ? "Asking…" : point.is_pinned ? "Unpin" : "Pin"}
    </button>
  );
}

// So many points are shown at first: those that people go back to, and what changed stays in sight.
const FEW_POINTS = 10;

function Points({ points, onRestore }: { points: Point[]; onRestore: (point: Point) => void }) {
  const may = useMay();
  const [isAll, setAll] = useState(false);
  const live = points.filter((point) => !point.expired_at);
  const drawn = live.slice(0, 30).reverse();
  // What a full run read says nothing about what had changed.
  const increments = drawn.filter((point) => !isFull(point));
  return (
    <>
      <Panel
        title={live.length ? `Points (${live.length})` : "Points"}
        className="flush"
        actions={
          live.length > FEW_POINTS && (
            <button type="button" className="quiet" aria-expanded={isAll} onClick={() => setAll(!isAll)}>
              {isAll ? "Show fewer" : `Show all ${live.length}`}
            </button>
          )
        }
      >
        <Table
          label="Restore points, newest first"
          rows={isAll ? live : live.slice(0, FEW_POINTS)}
          keyOf={(point) => point.id}
          empty={
            <Empty title="No points yet">
              After the first run of a job that includes this VM, every state that you can go back to stands here.
            </Empty>
          }
          columns={[
            {
              head: "Made",
              isName: true,
              className: "nowrap",
              cell: (point) => (
                <>
                  <Link href={`/runs/${point.run_id}`} title={exact(point.created_at)}>
                    {moment(point.created_at)}
                  </Link>
                  <small>
                    <Time at={point.created_at} />
                    {point.is_pinned && ", pinned"}
                  </small>
                </>
              ),
            },
            { head: "Kind", className: "wordy clear", cell: (point) => <PointKind point={point} /> },
            {
              head: "Consistency",
              className: "wordy clear",
              cell: (point) => (
                <Status tone={point.consistency.toLowerCase() === "application" ? "good" : "warning"}>
                  {consistencyName(point.consistency) || "unknown"}
                </Status>
              ),
            },
            { head: "Changed", isNumber: true, by: (point) => point.changed_bytes, cell: (point) => <Size bytes={point.changed_bytes} /> },
            { head: "Took", isNumber: true, by: (point) => point.duration_seconds, cell: (point) => duration(point.duration_seconds) },
            { head: "Proof", className: "wordy clear nowrap", cell: (point) => <PointProof point={point} /> },
            {
              head: "Restore",
              className: "end",
              cell: (point) =>
                may.operate && (
                  <span className="actions">
                    <Pin point={point} />
                    <button type="button" className="small" onClick={() => onRestore(point)} aria-label={`Restore from ${moment(point.created_at)}`}>
                      Restore…
                    </button>
                  </span>
                ),
            },
          ]}
        />
      </Panel>
      {drawn.length > 2 && (
        <div className="columns">
          <Panel title="What changed">
            {increments.length > 0 ? (
              <Chart
                title="The last increments"
                kind="bars"
                labels={increments.map((point) => moment(point.created_at))}
                show={size}
                series={{ name: "Changed", className: "series-1", values: increments.map((point) => point.changed_bytes) }}
              />
            ) : (
              <Empty title="No increment among them">The last points were read in full, which says nothing of what had changed.</Empty>
            )}
          </Panel>
          <Panel title="How long it took">
            <Chart
              title="The last points"
              kind="bars"
              unit="time"
              labels={drawn.map((point) => moment(point.created_at))}
              show={duration}
              series={{ name: "Duration", className: "series-2", values: drawn.map((point) => point.duration_seconds) }}
            />
          </Panel>
        </div>
      )}
    </>
  );
}

const isFull = (point: Point) => point.backup_type.toLowerCase() === "full";

// Full or incremental, for each disk where that is known, with the reason; what is out of the ordinary stands open.
function PointKind({ point }: { point: Point }) {
  const word = point.backup_type ? plain(point.backup_type.toLowerCase()) : "Files";
  const disks = point.disks.filter((disk) => disk.type);
  const reasons = [...new Set(disks.flatMap((disk) => (disk.full_reason ? [disk.full_reason] : [])))];
  const { warnings } = point;
  if (disks.length === 0 && warnings.length === 0) return <>{word}</>;
  return (
    <details>
      <summary>
        {word}
        {reasons.length > 0 && <small>{reasons.join("; ")}</small>}
        {warnings.length > 0 && <small>{count(warnings.length, "warning")}</small>}
      </summary>
      <ul className="tight">
        {disks.map((disk) => (
          <li key={disk.path}>
            <span title={disk.path}>{baseName(disk.path)}</span>: {disk.type}
            {disk.changed_bytes !== undefined && `, ${size(disk.changed_bytes)} changed`}
          </li>
        ))}
        {warnings.map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </details>
  );
}

function Machine({ vm }: { vm: Vm }) {
  const host = useGet<Host>(`/hosts/${vm.host_id}`);
  return (
    <div className="columns">
      <Panel title="Disks" className="flush">
        <Table
          label="Disks"
          rows={vm.disks}
          keyOf={(disk) => disk.path}
          empty={<Empty title="Not told yet">The agent lists the disks with its next inventory.</Empty>}
          columns={[
            { head: "Disk", isName: true, cell: (disk) => <span title={disk.path}>{baseName(disk.path)}</span> },
            { head: "Size", isNumber: true, cell: (disk) => <Size bytes={disk.size_bytes} /> },
            { head: "Used", isNumber: true, cell: (disk) => <Size bytes={disk.used_bytes} /> },
            {
              head: "Tracking",
              cell: (disk) => <Status tone={disk.is_tracked ? "good" : "calm"}>{disk.is_tracked ? "Tracked" : "Not tracked"}</Status>,
            },
          ]}
        />
      </Panel>
      <Panel title="Machine">
        <Facts>
          <Fact name="Host">
            <Link href={`/hosts/${vm.host_id}`}>{vm.host_name}</Link>
            {host.data && !host.data.is_online && <small>silent</small>}
          </Fact>
          <Fact name="State">{vm.gone_at ? <>gone since <Time at={vm.gone_at} /></> : plain(vm.state || "unknown")}</Fact>
          <Fact name="Guest">{vm.is_linux ? "Linux" : "Windows"}, generation {vm.generation}</Fact>
          <Fact name="Processors">{vm.cpu_count}</Fact>
          <Fact name="Memory">
            <Size bytes={vm.memory_mb * 1024 * 1024} />
          </Fact>
          <Fact name="First seen">
            <Time at={vm.first_seen_at} />
          </Fact>
        </Facts>
        {vm.leftovers.length > 0 && (
          <>
            <h3>Left behind on the host</h3>
            <ul className="tight">
              {vm.leftovers.map((leftover) => (
                <li key={leftover.kind + leftover.name}>
                  {plain(leftover.kind)} {leftover.name}, <Time at={leftover.created_at} none="of unknown age" />
                </li>
              ))}
            </ul>
          </>
        )}
      </Panel>
    </div>
  );
}

function ObjectiveDialog({ vm, onClose }: { vm: Vm; onClose: () => void }) {
  const [hours, setHours] = useState(vm.objective_hours);
  const [isExcused, setExcused] = useState(vm.is_excused);
  const save = useAct(() => call("PATCH", `/vms/${vm.id}`, { ...(hours !== vm.objective_hours && { objective_hours: hours }), is_excused: isExcused }), { again: ["/vms", "/overview"] });
  const sending = useSending(async () => {
    await save.mutateAsync(undefined);
    await refresh("/vms");
    onClose();
  });
  return (
    <Dialog title={`What ${vm.name} needs`} onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          <NumberField
            label="A good point at least every"
            unit="hours"
            min={1}
            max={8760}
            hint="Older than this, and an alarm is raised. Empty: what its job says."
            value={hours}
            onChange={setHours}
          />
          <CheckField
            label="This VM needs no backup"
            hint="It is then excused: no alarm says that nobody protects it."
            checked={isExcused}
            onChange={setExcused}
          />
          <FormError error={sending.error} />
        </div>
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Save" />
      </form>
    </Dialog>
  );
}
