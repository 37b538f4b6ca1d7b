// A host: its VMs, volumes and jobs, what its agent said, and the end of the agent's log.

import { useState } from "react";
import { call, type Command, commandDone, type Host, type HostEvent, type LogTail, type VmRow } from "../api";
import { count, moment, plain } from "../format";
import { refresh, useAct, useGet, useList } from "../fetching";
import { go, Link } from "../route";
import { useMay } from "../session";
import { ConfirmButton, Dialog, DialogFooter } from "../ui/dialog";
import { FormError, TextField, useSending } from "../ui/form";
import { Empty, Fact, Facts, Loaded, Page, Panel, Problem, Size, Time } from "../ui/parts";
import { healthOrder, HealthStatus, Status, Strip } from "../ui/status";
import { Table } from "../ui/table";
import { HostState } from "./hosts";

export function HostScreen({ id }: { id: string }) {
  const host = useGet<Host>(`/hosts/${id}`);
  const vms = useList<VmRow>(`/vms?host_id=${id}`);
  const may = useMay();
  const [isNaming, setNaming] = useState(false);
  const inventory = useAct(
    async () => commandDone(await call<Command>("POST", `/hosts/${id}/refresh`)),
    { done: "The agent has told what is there now.", again: ["/hosts", "/vms", "/overview"] },
  );
  const change = useAct((body: Partial<Host>) => call("PATCH", `/hosts/${id}`, body), { again: ["/hosts", "/overview"] });
  const remove = useAct(() => call("DELETE", `/hosts/${id}`), { done: "Removed.", again: ["/hosts", "/vms", "/overview"] });
  return (
    <Page
      title={host.data?.name ?? "Host"}
      crumbs={[{ href: "/hosts", name: "Hosts" }]}
      lead={
        host.data && (
          <>
            <HostState host={host.data} /> Last contact <Time at={host.data.last_seen_at} />.
          </>
        )
      }
      actions={
        may.operate &&
        host.data && (
          <>
            <button type="button" onClick={() => setNaming(true)}>
              Rename
            </button>
            {(may.own || !host.data.is_disabled) && (
              <button type="button" onClick={() => change.mutate({ is_disabled: !host.data.is_disabled })}>
                {host.data.is_disabled ? "Enable" : "Disable"}
              </button>
            )}
            <button type="button" disabled={inventory.isPending} onClick={() => inventory.mutate(undefined)}>
              {inventory.isPending ? "Asking the agent…" : "Refresh"}
            </button>
            <Link href={`/jobs/new?host=${id}`} className="button primary">
              New job
            </Link>
          </>
        )
      }
    >
      <Loaded from={host}>
        {(data) => (
          <>
            <Panel title="Agent">
              <Facts>
                <Fact name="Host name">{data.hostname}</Fact>
                <Fact name="System">
                  {plain(data.os)} {data.arch}
                </Fact>
                <Fact name="Agent">{data.agent_version || "unknown"}</Fact>
                <Fact name="Enrolled">
                  <Time at={data.created_at} />
                </Fact>
                <Fact name="Inventory">
                  <Time at={data.inventory_at} />
                </Fact>
              </Facts>
            </Panel>
            <Panel title="VMs" className="flush">
              <Loaded from={vms}>
                {(items) => (
                  <Table
                    label="VMs of this host"
                    rows={items}
                    keyOf={(vm) => vm.id}
                    empty={<Empty title="No VMs">The agent has told of none. On a Hyper-V host, press Refresh to ask again.</Empty>}
                    columns={[
                      { head: "Health", className: "mark", by: healthOrder, cell: (vm) => <HealthStatus health={vm.health} reason={vm.health_reason} /> },
                      { head: "VM", isName: true, by: (vm) => vm.name, cell: (vm) => <Link href={`/vms/${vm.id}`}>{vm.name}</Link> },
                      { head: "State", className: "mark", by: (vm) => vm.state, cell: (vm) => plain(vm.state) },
                      { head: "Last 30 days", className: "strip-cell", cell: (vm) => <Strip strip={vm.strip} /> },
                      { head: "Last point", by: (vm) => vm.last_point_at ?? "", cell: (vm) => <Time at={vm.last_point_at} none="none" /> },
                      { head: "Size", isNumber: true, by: (vm) => vm.size_bytes ?? -1, cell: (vm) => <Size bytes={vm.size_bytes} /> },
                    ]}
                  />
                )}
              </Loaded>
            </Panel>
            <Panel title="Volumes" className="flush">
              <Table
                label="Volumes"
                rows={data.volumes ?? []}
                keyOf={(volume) => volume.path}
                empty={<Empty title="Not told yet">The agent reports volumes every few minutes.</Empty>}
                columns={[
                  { head: "Volume", isName: true, cell: (volume) => volume.path },
                  { head: "Label", cell: (volume) => volume.label || "–" },
                  { head: "File system", cell: (volume) => volume.filesystem || "–" },
                  { head: "Kind", cell: (volume) => plain(volume.type || "") },
                  {
                    head: "Size",
                    isNumber: true,
                    cell: (volume) => (
                      <>
                        <Size bytes={volume.size_bytes} />
                        {typeof volume.free_bytes === "number" && (
                          <small>
                            <Size bytes={volume.free_bytes} /> free
                          </small>
                        )}
                      </>
                    ),
                  },
                ]}
              />
            </Panel>
            <div className="columns">
              <Events id={id} />
              {may.operate && <Log id={id} />}
            </div>
            {may.own && (
              <p className="below">
                <ConfirmButton
                  className="danger-quiet"
                  label="Remove this host…"
                  confirm="Remove the host"
                  title={`Remove ${data.name}?`}
                  onConfirm={async () => {
                    await remove.mutateAsync(undefined);
                    go("/hosts");
                  }}
                >
                  {data.job_count > 0 && (
                    <p>
                      <strong>It has {count(data.job_count, "job")}, so the server refuses.</strong> Remove its jobs first, or move them to another host.
                    </p>
                  )}
                  <p>
                    A host is removed when it has no job and no run that goes on. Its agent can no longer sign in then, and its VMs count as gone.
                    What is in repositories stays, and can be restored to other hosts; a folder on its disk is that of the next host that uses it.
                  </p>
                </ConfirmButton>
              </p>
            )}
            {isNaming && <RenameDialog host={data} onClose={() => setNaming(false)} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

export function LevelMark({ level }: { level: string }) {
  if (level === "error") return <Status tone="bad">Error</Status>;
  if (level === "warn" || level === "warning") return <Status tone="warning">Warning</Status>;
  return <span />;
}

function Events({ id }: { id: string }) {
  const events = useGet<{ items: HostEvent[] }>(`/hosts/${id}/events?limit=50`);
  return (
    <Panel title="What the agent said">
      <Loaded from={events}>
        {({ items }) =>
          items.length ? (
            <div className="log-box" tabIndex={0} role="region" aria-label="What the agent said, newest first">
              <ol className="log-lines">
              {items.map((event) => (
                <li key={event.id}>
                  <time dateTime={event.at}>{moment(event.at)}</time>
                  <LevelMark level={event.level} />
                  <span>{event.text || plain(event.code)}</span>
                </li>
              ))}
              </ol>
            </div>
          ) : (
            <Empty title="Nothing yet">Starts, stops and lost connections of the agent stand here.</Empty>
          )
        }
      </Loaded>
    </Panel>
  );
}

function Log({ id }: { id: string }) {
  const fetchLog = useAct(async () => (await commandDone(await call<Command>("POST", `/hosts/${id}/log-tail`))).result as LogTail);
  return (
    <Panel
      title="The agent's log"
      actions={
        <button type="button" className="small" disabled={fetchLog.isPending} onClick={() => fetchLog.mutate(undefined)}>
          {fetchLog.isPending ? "Asking the agent…" : "Fetch its end"}
        </button>
      }
    >
      {fetchLog.error && <Problem error={fetchLog.error} />}
      {fetchLog.data ? (
        <pre tabIndex={0} aria-label="The end of the agent's log" className="log">
          {fetchLog.data.content}
        </pre>
      ) : (
        <p className="muted">The last lines of the log, fetched from the host. Secrets are blacked out by the agent.</p>
      )}
    </Panel>
  );
}

function RenameDialog({ host, onClose }: { host: Host; onClose: () => void }) {
  const [name, setName] = useState(host.name);
  const sending = useSending(async () => {
    await call("PATCH", `/hosts/${host.id}`, { name });
    await refresh("/hosts", "/vms", "/overview");
    onClose();
  });
  return (
    <Dialog title="Rename the host" onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          <TextField label="Name" required value={name} onChange={setName} error={sending.errorOf("name")} />
          <FormError error={sending.error} fields={["name"]} />
        </div>
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Save" />
      </form>
    </Dialog>
  );
}
