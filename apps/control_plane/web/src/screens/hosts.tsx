// Hosts, and how a new one is enrolled.

import { useEffect, useRef, useState } from "react";
import { call, type EnrolmentToken, type Host } from "../api";
import { plain } from "../format";
import { useList } from "../fetching";
import { Link } from "../route";
import { serverNow } from "../server_time";
import { useMay } from "../session";
import { Dialog } from "../ui/dialog";
import { FormError, TextField, useSending } from "../ui/form";
import { CopyText, Empty, Loaded, Page, Panel, Time } from "../ui/parts";
import { Status } from "../ui/status";
import { Table } from "../ui/table";
import { useTenantOfNew } from "../ui/tenant";

export const HostState = ({ host }: { host: Host }) =>
  host.is_disabled ? (
    <Status tone="excused">Disabled</Status>
  ) : host.is_online ? (
    <Status tone="good">Online</Status>
  ) : (
    <Status tone="bad">Silent</Status>
  );

export function HostsScreen() {
  const hosts = useList<Host>("/hosts");
  const [isAdding, setAdding] = useState(false);
  const may = useMay();
  const add = may.own && (
    <button type="button" className="primary" onClick={() => setAdding(true)}>
      Enrol a host
    </button>
  );
  return (
    <Page title="Hosts" lead="Machines with an agent." actions={add}>
      <Panel className="flush">
        <Loaded from={hosts}>
          {(items) => (
            <Table
              label="Hosts"
              rows={items}
              keyOf={(host) => host.id}
              empty={
                <Empty title="No host yet" action={add}>
                  Install the agent on a machine and enrol it with a token{may.own ? "" : ", which an owner gives you"}: it then appears here within seconds.
                </Empty>
              }
              columns={[
                { head: "State", className: "mark", by: (host) => Number(host.is_online), cell: (host) => <HostState host={host} /> },
                {
                  head: "Host",
                  isName: true,
                  by: (host) => host.name,
                  cell: (host) => (
                    <>
                      <Link href={`/hosts/${host.id}`}>{host.name}</Link>
                      {host.hostname !== host.name && <small>{host.hostname}</small>}
                    </>
                  ),
                },
                { head: "VMs", isNumber: true, by: (host) => host.vm_count, cell: (host) => host.vm_count },
                { head: "Jobs", isNumber: true, by: (host) => host.job_count, cell: (host) => host.job_count },
                { head: "System", by: (host) => host.os, cell: (host) => `${plain(host.os)} ${host.arch}` },
                { head: "Agent", by: (host) => host.agent_version, cell: (host) => host.agent_version || "unknown" },
                { head: "Last contact", by: (host) => host.last_seen_at ?? "", cell: (host) => <Time at={host.last_seen_at} /> },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {isAdding && (
        <Dialog title="Enrol a host" onClose={() => setAdding(false)}>
          <div className="dialog-body">
            <EnrolHost />
          </div>
          <footer>
            <button type="button" onClick={() => setAdding(false)}>
              Close
            </button>
          </footer>
        </Dialog>
      )}
    </Page>
  );
}

// Makes a token, shows the line to run, and waits until the host shows up.
export function EnrolHost({ onFound }: { onFound?: (host: Host) => void }) {
  const [description, setDescription] = useState("");
  const [token, setToken] = useState<EnrolmentToken | null>(null);
  const { tenant, field } = useTenantOfNew();
  const hosts = useList<Host>("/hosts", { every: token ? 2000 : undefined });
  const before = useRef<Set<string> | null>(null);
  const sending = useSending(async () => {
    before.current = new Set((hosts.data ?? []).map((host) => host.id));
    const expires_at = new Date(serverNow() + 24 * 3_600_000).toISOString();
    setToken(
      await call<EnrolmentToken>("POST", "/enrolment-tokens", { ...tenant, description: description || "A new host", max_uses: 1, expires_at }),
    );
  });
  const found = token && hosts.data?.find((host) => !before.current?.has(host.id));
  useEffect(() => {
    if (found) onFound?.(found);
  }, [found, onFound]);
  if (!token) {
    return (
      <form onSubmit={sending.onSubmit}>
        {field}
        <TextField label="What is it for" placeholder="hv01 in the server room" hint="Only a note for you." value={description} onChange={setDescription} />
        <FormError error={sending.error} />
        <button type="submit" className="primary" disabled={sending.isBusy}>
          Make the command
        </button>
      </form>
    );
  }
  return (
    <>
      <p>On the host, where the agent is installed, run this as an administrator. It works once, within a day.</p>
      <CopyText text={token.command ?? token.token ?? ""} label="The command to run on the host" />
      <div role="status" className="waiting">
        {found ? (
          <Status tone="good">
            <Link href={`/hosts/${found.id}`}>{found.name}</Link> is enrolled
          </Status>
        ) : (
          <Status tone="busy">Waiting for the host to show up…</Status>
        )}
      </div>
    </>
  );
}
