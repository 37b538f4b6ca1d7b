// A run, watched live: progress per VM and disk, rates, what it waits for, its log.

import { useEffect, useMemo, useRef, useState } from "react";
import { all, call, type Run, type RunEvent, runsStill } from "../api";
import { baseName, capital, clock, duration, exact, moment, number, plain, size } from "../format";
import { refresh, useAct, useGet } from "../fetching";
import { listen } from "../listening";
import { Link } from "../route";
import { type Phase, progressOf, ratesOf, type VmProgress } from "../run_progress";
import { serverNow } from "../server_time";
import { useMay } from "../session";
import { Chart } from "../ui/chart";
import { ConfirmButton } from "../ui/dialog";
import { Empty, Fact, Facts, Loaded, Meter, Page, Panel, Problem, Size, Time } from "../ui/parts";
import { RunStatusMark, Status, type Tone } from "../ui/status";
import { LevelMark } from "./host";
import { kindName, runMoment, runName, runSeconds } from "./runs";

// So many events of a run the server keeps at most.
const EVENTS_MAX = 5_501;

// So long after its end a run's events are looked for once more.
const LAST_LOOK_MS = 15_000;

// The run and its events, as the server tells them while it goes on.
function useRunLive(id: string) {
  const read = useGet<Run>(`/runs/${id}`);
  const [told, setTold] = useState<Run | null>(null);
  const [events, setEvents] = useState<RunEvent[]>([]);
  const [error, setError] = useState<Error | null>(null);
  const isGoing = read.data ? runsStill(read.data.status) : null;
  useEffect(() => {
    if (isGoing === null) return;
    const known = new Map<number, RunEvent>();
    const add = (more: RunEvent[]) => {
      const fresh = more.filter((event) => !known.has(event.id));
      // A stream that is taken up again tells all of them again.
      if (fresh.length === 0) return;
      fresh.forEach((event) => known.set(event.id, event));
      setEvents([...known.values()].sort((a, b) => a.id - b.id));
    };
    const ended = new AbortController();
    const read = () =>
      all<RunEvent>(`/runs/${id}/events`, ended.signal, EVENTS_MAX)
        .then((more) => {
          add(more);
          setError(null);
        })
        .catch((cause: Error) => !ended.signal.aborted && setError(cause));
    void read();
    if (!isGoing) {
      // Agents tell the end of a run before they tell the last of what happened in it.
      const timers = [2_000, 6_000, LAST_LOOK_MS].map((wait) => setTimeout(() => void read(), wait));
      return () => {
        timers.forEach(clearTimeout);
        ended.abort();
      };
    }
    const stop = listen(`/runs/${id}/stream`, (source) => {
      source.addEventListener("run", (message) => {
        const run = JSON.parse(message.data) as Run;
        setTold(run);
        if (!runsStill(run.status)) {
          source.close();
          void refresh(`/runs/${id}`, "/overview", "/jobs", "/vms", "/points");
        }
      });
      // What was told last is old from then on: what is read holds.
      source.addEventListener("error", () => setTold(null));
      source.addEventListener("event", (message) => add([JSON.parse(message.data) as RunEvent]));
    });
    return () => {
      ended.abort();
      stop();
    };
  }, [id, isGoing]);
  // What was told last holds, but what was read has the points.
  const run = told && read.data && runsStill(read.data.status) ? { ...read.data, ...told } : read.data;
  return { read, run, events, error };
}

export function RunScreen({ id }: { id: string }) {
  const { read, run, events, error } = useRunLive(id);
  const may = useMay();
  const cancel = useAct(() => call("POST", `/runs/${id}/cancel`), { done: "The agent is told to stop; it cleans up first.", again: ["/runs", "/overview"] });
  const isGoing = run && runsStill(run.status);
  return (
    <Page
      title={run ? `${runName(run)}, ${moment(runMoment(run))}` : "Run"}
      crumbs={[{ href: "/runs", name: "Runs" }, ...(run?.job_id ? [{ href: `/jobs/${run.job_id}`, name: run.job_name ?? "Job" }] : [])]}
      lead={
        run && (
          <>
            <RunStatusMark status={run.status} /> {kindName(run.kind)} on <Link href={`/hosts/${run.host_id}`}>{run.host_name}</Link>,{" "}
            <Time at={run.started_at ?? run.scheduled_for ?? run.created_at} />.
          </>
        )
      }
      actions={
        may.operate &&
        isGoing &&
        (run.is_cancel_requested ? (
          <Status tone="busy">Stopping…</Status>
        ) : (
          <ConfirmButton
            className="danger-quiet"
            label="Cancel the run…"
            confirm="Cancel the run"
            title="Cancel this run?"
            onConfirm={() => cancel.mutateAsync(undefined)}
          >
            <p>The agent stops at the next safe place and removes its checkpoints. What is uploaded already need not be uploaded again.</p>
          </ConfirmButton>
        ))
      }
    >
      <Loaded from={read}>
        {() =>
          run && (
            <>
              {run.error_summary && (
                <div className={`note tone-${run.status === "failed" || run.status === "missed" ? "bad" : "warning"}`} role={isGoing ? undefined : "alert"}>
                  <p>{capital(run.error_summary)}</p>
                </div>
              )}
              <ProgressPanel run={run} events={events} />
              <VmsPanel progress={progressOf(run, events)} run={run} />
              {run.points && run.points.length > 0 && <PointsPanel run={run} />}
              {error && <Problem error={error} />}
              <EventsPanel events={events} run={run} />
            </>
          )
        }
      </Loaded>
    </Page>
  );
}

// The server's time, second by second while something goes on.
function useSeconds(isGoing: boolean): number {
  const [now, setNow] = useState(serverNow);
  useEffect(() => {
    if (!isGoing) return;
    const timer = setInterval(() => setNow(serverNow()), 1000);
    return () => clearInterval(timer);
  }, [isGoing]);
  return now;
}

function ProgressPanel({ run, events }: { run: Run; events: RunEvent[] }) {
  const rates = useMemo(() => ratesOf(events), [events]);
  const isGoing = runsStill(run.status);
  const now = useSeconds(isGoing);
  const took = runSeconds(run, now);
  // Read out in tens, so that a screen reader is not flooded.
  const told = isGoing ? `${run.status}, ${Math.floor(run.progress_pct / 10) * 10} percent` : plain(run.status);
  return (
    <Panel title={isGoing ? "Progress" : "How it went"} className="progress">
      <p className="sr" role="status">
        {told}
      </p>
      {isGoing && (
        <div className="big-progress">
          <Meter value={run.progress_pct} label="Progress of the run" />
          <strong className="figure">{run.progress_pct.toFixed(run.progress_pct < 10 ? 1 : 0)} %</strong>
        </div>
      )}
      {isGoing && run.waits_for && (
        <p>
          <Status tone="calm">Waits for {run.waits_for}</Status>
        </p>
      )}
      <Facts>
        <Fact name="Read">
          <Size bytes={run.bytes_processed} />
          {run.bytes_total > 0 && <small>of {size(run.bytes_total)}</small>}
        </Fact>
        <Fact name={run.kind === "backup" ? "Uploaded" : "Written"}>
          <Size bytes={run.bytes_transferred} />
        </Fact>
        {run.objects_total > 0 && (
          <Fact name={run.engine === "hyperv" ? "VMs" : "Files"}>
            <span className="figure">
              {number(run.objects_transferred)} of {number(run.objects_total)}
            </span>
          </Fact>
        )}
        {isGoing && run.speed_bytes_per_sec > 0 && <Fact name="Rate">{size(run.speed_bytes_per_sec)}/s</Fact>}
        {isGoing && run.eta_seconds > 0 && <Fact name="Left">{duration(run.eta_seconds)}</Fact>}
        {took !== null && <Fact name={isGoing ? "For" : "Took"}>{duration(took)}</Fact>}
        <Fact name="Asked by">{run.trigger === "schedule" ? "the schedule" : run.requested_by || plain(run.trigger)}</Fact>
        {isGoing && run.heartbeat_at && (
          <Fact name="Last word">
            <Time at={run.heartbeat_at} />
          </Fact>
        )}
      </Facts>
      {isGoing && run.current_item && (
        <p className="muted current" title={run.current_item}>
          {run.current_item}
        </p>
      )}
      {rates.length > 2 && (
        <Chart title="Rate" labels={rates.map((rate) => clock(rate.at))} show={(n) => `${size(n)}/s`} series={{ name: "Rate", className: "series-1", values: rates.map((rate) => rate.speed) }} />
      )}
    </Panel>
  );
}

const PHASES: Record<Phase, [Tone, string]> = {
  waiting: ["calm", "Waiting"],
  working: ["busy", "Working"],
  finishing: ["busy", "Finishing"],
  done: ["good", "Done"],
  warned: ["warning", "With warnings"],
  failed: ["bad", "Failed"],
};

// Agents tell the end of a run before the last of what happened in it: what is still "working" then went well where all
// did, and nobody knows how where the run ended with warnings.
const UNTOLD: Partial<Record<Run["status"], [Tone, string]>> = { success: PHASES.done, warning: ["excused", "Ended"] };
const NOT_FINISHED: [Tone, string] = ["excused", "Not finished"];

function PhaseMark({ phase, run }: { phase: Phase; run: Run }) {
  const isOver = !runsStill(run.status) && (phase === "working" || phase === "finishing");
  const [tone, word] = isOver ? (UNTOLD[run.status] ?? NOT_FINISHED) : PHASES[phase];
  return <Status tone={tone}>{word}</Status>;
}

function VmsPanel({ progress, run }: { progress: VmProgress[]; run: Run }) {
  if (progress.length === 0) return null;
  return (
    <Panel title="VMs and disks">
      <ul className="vm-progress">
        {progress.map((vm) => (
          <li key={vm.name}>
            <div className="vm-head">
              <PhaseMark phase={vm.phase} run={run} />
              <strong>{vm.name}</strong>
              {vm.note && <span className="muted">{vm.note}</span>}
            </div>
            {vm.disks.length > 0 && (
              <ul>
                {vm.disks.map((disk) => (
                  <li key={disk.name} className="disk">
                    <span title={disk.name}>{baseName(disk.name)}</span>
                    {disk.done !== undefined && disk.total ? <Meter value={(disk.done / disk.total) * 100} label={`Progress of ${baseName(disk.name)}`} /> : null}
                    <span className="muted figure">
                      {disk.done !== undefined && `${size(disk.done)} of `}
                      {disk.total !== undefined && size(disk.total)}
                    </span>
                    {vm.phase !== "done" && vm.disks.length > 1 && <PhaseMark phase={disk.phase} run={run} />}
                  </li>
                ))}
              </ul>
            )}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function PointsPanel({ run }: { run: Run }) {
  return (
    <Panel title="Points it made">
      <ul className="tight">
        {(run.points ?? []).map((point) => (
          <li key={point.id}>
            {point.vm_id !== null ? <Link href={`/vms/${point.vm_id}`}>{point.name}</Link> : <Link href={`/points?job=${point.job_id ?? ""}`}>{point.name}</Link>}{" "}
            <span className="muted">
              {[point.backup_type && plain(point.backup_type.toLowerCase()), `${size(point.changed_bytes)} changed`, duration(point.duration_seconds)].filter(Boolean).join(", ")}
            </span>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

// Why a run has no events.
function Silence({ run }: { run: Run }) {
  if (run.status === "queued") {
    return <Empty title="The agent has not taken it yet">Agents ask for work every few seconds. If this stays, see whether the host is silent.</Empty>;
  }
  const isFresh = !run.finished_at || serverNow() - Date.parse(run.finished_at) < LAST_LOOK_MS;
  if (isFresh) return <Empty title="Nothing is told yet">Agents tell how a run ended before they tell what happened in it.</Empty>;
  return <Empty title="Nothing was said">The agent sent no events for this run.</Empty>;
}

function EventsPanel({ events, run }: { events: RunEvent[]; run: Run }) {
  const [isAll, setAll] = useState(false);
  const end = useRef<HTMLDivElement>(null);
  const [follows, setFollows] = useState(true);
  const shown = isAll ? events : events.filter((event) => event.type !== "progress");
  const isGoing = runsStill(run.status);
  useEffect(() => {
    const box = end.current;
    if (box && follows && isGoing) box.scrollTop = box.scrollHeight;
  }, [shown.length, follows, isGoing]);
  return (
    <Panel
      title="Log"
      actions={
        <>
          <label className="inline-check">
            <input type="checkbox" checked={isAll} onChange={(event) => setAll(event.target.checked)} /> Progress too
          </label>
          {isGoing && (
            <label className="inline-check">
              <input type="checkbox" checked={follows} onChange={(event) => setFollows(event.target.checked)} /> Follow
            </label>
          )}
          <a href={`/api/v1/runs/${run.id}/log`} className="button small" target="_blank" rel="noreferrer">
            As text
          </a>
        </>
      }
    >
      {shown.length ? (
        <div ref={end} className="log-box" tabIndex={0} role="log" aria-label="Log of the run" aria-live="off">
          <ol className="log-lines">
            {shown.map((event) => (
              <li key={event.id}>
                <time dateTime={event.at} title={exact(event.at)}>
                  {clock(event.at)}
                </time>
                <LevelMark level={event.level} />
                <span>{event.text || plain(event.message_id.toLowerCase())}</span>
              </li>
            ))}
          </ol>
        </div>
      ) : (
        <Silence run={run} />
      )}
    </Panel>
  );
}
