// The audit log: who changed what, and from where.

import type { AuditEntry, Host, User } from "../api";
import { plain } from "../format";
import { useList } from "../fetching";
import { useQueryValue } from "../route";
import { Empty, Loaded, Panel, When } from "../ui/parts";
import { Table } from "../ui/table";
import { Manage } from "./manage";

// What was done, as people say it; what is not named here is told by its own words.
const ACTIONS: Record<string, string> = {
  "session.create": "Signed in",
  "session.delete": "Signed out",
  "session.refuse": "Was refused to sign in",
  "user.totp": "Switched the second factor on",
  "user.totp_remove": "Switched the second factor off",
  "user.password": "Changed the password",
  "repository.password": "Looked at the password",
  "repository.operation": "Ordered work",
  "point.restore": "Restored",
  "point.pin": "Pinned",
  "point.unpin": "Unpinned",
  "job.run": "Ran by hand",
  "run.cancel": "Cancelled",
  "host.command": "Asked the agent",
  "host.enrol": "Enrolled",
  "host.enrol_again": "Enrolled again",
  "alarm.acknowledge": "Acknowledged",
  "alarm.snooze": "Kept quiet",
  "alarm.resolve": "Resolved",
  "channel.test": "Sent a test message",
  setup: "Set the server up",
};
const VERBS: Record<string, string> = { create: "Made", update: "Changed", delete: "Removed", revoke: "Took back" };
const actionText = (action: string) => ACTIONS[action] ?? VERBS[action.split(".").pop() ?? ""] ?? plain(action);

const VALUES: Record<string, string> = { hyperv: "Hyper-V VMs", kopia: "files and folders", local: "folder" };
const plainValue = (value: string) => VALUES[value] ?? (/^[a-z]+(_[a-z]+)+$/.test(value) ? plain(value).toLowerCase() : value);

// What was given, without what is empty; ids say nothing to people.
function detailWords(detail: unknown): [string, string][] {
  if (!detail || typeof detail !== "object") return detail && detail !== "{}" ? [["", String(detail)]] : [];
  return Object.entries(detail).flatMap(([key, value]): [string, string][] => {
    if (value === null || value === "" || key === "name" || key.endsWith("_id") || (Array.isArray(value) && value.length === 0)) return [];
    if (Array.isArray(value)) return [[plain(key), value.map(String).join(", ")]];
    if (typeof value === "object") {
      const inner = detailWords(value).map(([k, v]) => (k ? `${k.toLowerCase()} ${v}` : v));
      return inner.length ? [[plain(key), inner.join(", ")]] : [];
    }
    return [[plain(key), value === true ? "yes" : value === false ? "no" : plainValue(String(value))]];
  });
}

function AuditDetail({ detail }: { detail: unknown }) {
  const words = detailWords(detail);
  const text = words.map(([key, value]) => (key ? `${key}: ${value}` : value));
  if (text.length <= 3) return <>{text.join("; ")}</>;
  return (
    <details>
      <summary>{text.slice(0, 2).join("; ")} …</summary>
      {text.slice(2).join("; ")}
    </details>
  );
}

function AuditObject({ entry, names }: { entry: AuditEntry; names: Map<string, string> }) {
  const name = (entry.detail as { name?: unknown } | null)?.name ?? names.get(entry.object_id);
  // Ids are long; their ends tell them apart, for their beginnings are times.
  const id = entry.object_id.length > 12 ? `…${entry.object_id.slice(-8)}` : entry.object_id;
  return (
    <span title={entry.object_id}>
      {plain(entry.object_kind)} {typeof name === "string" && name ? name : id}
    </span>
  );
}

export function AuditScreen() {
  const [kind, setKind] = useQueryValue("kind");
  const hosts = useList<Host>("/hosts");
  const users = useList<User>("/users");
  const names = new Map([...(hosts.data ?? []), ...(users.data ?? [])].map(({ id, name }) => [id, name]));
  const entries = useList<AuditEntry>(`/audit${kind && `?object_kind=${encodeURIComponent(kind)}`}`);
  return (
    <Manage title="Audit log" lead="Who changed what, and from where.">
      <div className="filters">
        <select aria-label="Kind of thing" value={kind} onChange={(event) => setKind(event.target.value)}>
          <option value="">Everything</option>
          {["user", "session", "job", "run", "point", "repository", "host", "vm", "alarm", "channel", "enrolment_token", "api_token", "tenant", "settings"].map((word) => (
            <option key={word} value={word}>
              {plain(word)}
            </option>
          ))}
        </select>
      </div>
      <Panel className="flush">
        <Loaded from={entries}>
          {(items) => (
            <Table
              label="Audit log, newest first"
              rows={items}
              keyOf={(entry) => entry.id}
              empty={<Empty title="Nothing was changed">Every change that people and programs make is written down here.</Empty>}
              columns={[
                { head: "When", cell: (entry) => <When at={entry.at} /> },
                { head: "Who", className: "wordy", by: (entry) => entry.actor, cell: (entry) => entry.actor },
                { head: "What", isName: true, className: "nowrap", by: (entry) => entry.action, cell: (entry) => actionText(entry.action) },
                { head: "What it was done to", className: "wordy", cell: (entry) => <AuditObject entry={entry} names={names} /> },
                { head: "Detail", className: "wordy detail", cell: (entry) => <AuditDetail detail={entry.detail} /> },
                { head: "From", cell: (entry) => entry.address },
              ]}
            />
          )}
        </Loaded>
      </Panel>
    </Manage>
  );
}
