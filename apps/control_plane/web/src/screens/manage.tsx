// Managing: people, tokens, enrolment, tenants, the audit log, settings.

import { type ReactNode, useState } from "react";
import { type ApiToken, type AuditEntry, call, type EnrolmentToken, type HistoryMember, type Role, type Settings, type Smtp, type Tenant, type User } from "../api";
import { plain } from "../format";
import { refresh, useAct, useGet, useList } from "../fetching";
import { usePath, useQueryValue } from "../route";
import { serverNow } from "../server_time";
import { useMay, useTenantOfNew, useWho } from "../session";
import { ConfirmButton, Dialog } from "../ui/dialog";
import { CheckField, FormError, LinesField, NumberField, SelectField, TextField, useSending } from "../ui/form";
import { CopyText, Empty, Loaded, Page, Panel, Tabs, Time } from "../ui/parts";
import { Status } from "../ui/status";
import { Table } from "../ui/table";
import { say } from "../ui/toasts";

// A screen of which the server would tell others nothing.
export function ForOwners({ title, children }: { title: string; children: ReactNode }) {
  if (useMay().own) return children;
  return (
    <Page title={title}>
      <Panel>
        <Empty title="This is for owners">Ask an owner of this tenant to do it, or to change your role.</Empty>
      </Panel>
    </Page>
  );
}

function Manage({ title, lead, actions, children }: { title: string; lead: string; actions?: ReactNode; children: ReactNode }) {
  const may = useMay();
  const path = usePath();
  const tabs = [
    { href: "/manage/people", name: "People" },
    { href: "/manage/tokens", name: "API tokens" },
    { href: "/manage/enrolment", name: "Enrolment" },
    { href: "/manage/tenants", name: "Tenants" },
    { href: "/manage/audit", name: "Audit log" },
    ...(may.isInstallation ? [{ href: "/manage/settings", name: "Settings" }] : []),
  ];
  return (
    <Page title={title} lead={lead} actions={actions}>
      <Tabs label="Manage" tabs={tabs} path={path} />
      {children}
    </Page>
  );
}

const ROLES = [
  { value: "viewer", name: "Viewer: looks" },
  { value: "operator", name: "Operator: runs, restores, changes jobs" },
  { value: "owner", name: "Owner: manages everything" },
];

const DialogFooter = ({ onClose, isBusy, action }: { onClose: () => void; isBusy: boolean; action: string }) => (
  <footer>
    <button type="button" onClick={onClose}>
      Cancel
    </button>
    <button type="submit" className="primary" disabled={isBusy}>
      {action}
    </button>
  </footer>
);

export function PeopleScreen() {
  const people = useList<User>("/users");
  const { session } = useWho();
  const [editing, setEditing] = useState<User | "new" | null>(null);
  const tenantName = (id: string | null) => (id === null ? "all" : (session.tenants.find((t) => t.id === id)?.name ?? id));
  const state = (user: User) => <Status tone={user.is_disabled ? "excused" : "good"}>{user.is_disabled ? "Disabled" : "Active"}</Status>;
  return (
    <Manage
      title="People"
      lead="Who may sign in, and what they may do."
      actions={
        <button type="button" className="primary" onClick={() => setEditing("new")}>
          Add a person
        </button>
      }
    >
      <Panel className="flush">
        <Loaded from={people}>
          {(items) => (
            <Table
              label="People"
              rows={items}
              keyOf={(user) => user.id}
              columns={[
                { head: "State", className: "mark", cell: state },
                { head: "Name", isName: true, by: (user) => user.name, cell: (user) => <>{user.name}<small>{user.email}</small></> },
                { head: "Role", by: (user) => user.role, cell: (user) => plain(user.role) },
                { head: "Tenant", cell: (user) => tenantName(user.tenant_id) },
                { head: "Second factor", cell: (user) => <Status tone={user.has_totp ? "good" : "calm"}>{user.has_totp ? "On" : "Off"}</Status> },
                { head: "Since", cell: (user) => <Time at={user.created_at} /> },
                {
                  head: "Change",
                  className: "end",
                  cell: (user) => (
                    <button type="button" className="small" aria-label={`Edit ${user.name}`} onClick={() => setEditing(user)}>
                      Edit
                    </button>
                  ),
                },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {editing && <PersonDialog user={editing === "new" ? null : editing} onClose={() => setEditing(null)} />}
    </Manage>
  );
}

function PersonDialog({ user, onClose }: { user: User | null; onClose: () => void }) {
  const { session } = useWho();
  const fixed = useTenantOfNew();
  const isOfInstallation = session.user.tenant_id === null;
  const [name, setName] = useState(user?.name ?? "");
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>(user?.role ?? "operator");
  const [password, setPassword] = useState("");
  const [keepsTokens, setKeepsTokens] = useState(false);
  const [isDisabled, setDisabled] = useState(user?.is_disabled ?? false);
  const [resetTotp, setResetTotp] = useState(false);
  const [tenantId, setTenantId] = useState(fixed.tenant_id ?? "");
  const again = ["/users"];
  const remove = useAct(() => call("DELETE", `/users/${user?.id}`), { done: "Removed.", again });
  const sending = useSending(async () => {
    if (user) {
      await call("PATCH", `/users/${user.id}`, { name, role, is_disabled: isDisabled, ...(password && { password, ...(keepsTokens && { keeps_tokens: true }) }), ...(resetTotp && { reset_totp: true }) });
    } else {
      await call("POST", "/users", { email, name, role, password, ...(isOfInstallation && tenantId && { tenant_id: tenantId }) });
    }
    await refresh(...again);
    onClose();
  });
  return (
    <Dialog title={user ? `Edit ${user.name}` : "Add a person"} onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          <TextField label="Name" required value={name} onChange={setName} error={sending.errorOf("name")} />
          {!user && <TextField label="E-mail" type="email" required autoComplete="off" value={email} onChange={setEmail} error={sending.errorOf("email")} />}
          <SelectField label="Role" value={role} onChange={(word) => setRole(word as Role)} options={ROLES} error={sending.errorOf("role")} />
          {!user && isOfInstallation && (
            <SelectField
              label="Tenant"
              value={tenantId}
              onChange={setTenantId}
              hint="Without one, they see the whole installation."
              options={[{ value: "", name: "All (the installation)" }, ...session.tenants.map((t) => ({ value: t.id, name: t.name }))]}
              error={sending.errorOf("tenant_id")}
            />
          )}
          <TextField
            label={user ? "New password" : "Password"}
            type="password"
            autoComplete="new-password"
            required={!user}
            minLength={12}
            hint={user ? "Empty: it stays as it is." : "At least 12 characters. They can change it later."}
            value={password}
            onChange={setPassword}
            error={sending.errorOf("password")}
          />
          {user && password && (
            <CheckField
              label="Keep their API tokens"
              hint="The password was only forgotten. Else all that they made is taken back."
              checked={keepsTokens}
              onChange={setKeepsTokens}
            />
          )}
          {user && (
            <>
              <CheckField label="Disabled" hint="May not sign in; their sessions end." checked={isDisabled} onChange={setDisabled} />
              {user.has_totp && <CheckField label="Reset the second factor" hint="When they lost their phone." checked={resetTotp} onChange={setResetTotp} />}
              {user.id !== session.user.id && (
                <ConfirmButton
                  className="danger-quiet"
                  label="Remove…"
                  confirm="Remove the person"
                  title={`Remove ${user.name}?`}
                  onConfirm={async () => {
                    await remove.mutateAsync(undefined);
                    onClose();
                  }}
                >
                  <p>Their sessions and API tokens end. What they did stays in the audit log.</p>
                </ConfirmButton>
              )}
            </>
          )}
          <FormError error={sending.error} fields={["name", "email", "role", "tenant_id", "password"]} />
        </div>
        <DialogFooter onClose={onClose} isBusy={sending.isBusy} action="Save" />
      </form>
    </Dialog>
  );
}

const ENDS = [
  { value: "", name: "Never" },
  { value: "1", name: "In a day" },
  { value: "7", name: "In a week" },
  { value: "90", name: "In 90 days" },
  { value: "365", name: "In a year" },
];
const inDays = (days: string) => (days ? { expires_at: new Date(serverNow() + Number(days) * 86_400_000).toISOString() } : {});

export function TokensScreen() {
  const tokens = useList<ApiToken>("/api-tokens");
  const [isAdding, setAdding] = useState(false);
  const revoke = useAct((id: ApiToken["id"]) => call("DELETE", `/api-tokens/${id}`), { done: "Taken back.", again: ["/api-tokens"] });
  return (
    <Manage
      title="API tokens"
      lead="For programs: the API is described at /api/v1/openapi.json."
      actions={
        <button type="button" className="primary" onClick={() => setAdding(true)}>
          Make a token
        </button>
      }
    >
      <Panel className="flush">
        <Loaded from={tokens}>
          {(items) => (
            <Table
              label="API tokens"
              rows={items}
              keyOf={(token) => token.id}
              empty={<Empty title="No tokens">With one, a script can start runs, or a monitor can read /metrics.</Empty>}
              columns={[
                { head: "Name", isName: true, by: (token) => token.name, cell: (token) => token.name },
                { head: "Role", cell: (token) => plain(token.role) },
                { head: "Made", cell: (token) => <Time at={token.created_at} /> },
                { head: "Last used", cell: (token) => <Time at={token.last_used_at} /> },
                { head: "Ends", cell: (token) => <Time at={token.expires_at} /> },
                {
                  head: "Change",
                  className: "end",
                  cell: (token) => (
                    <ConfirmButton className="small" label="Take back" title={`Take back ${token.name}?`} onConfirm={() => revoke.mutateAsync(token.id)}>
                      <p>Programs that use it are refused from now on.</p>
                    </ConfirmButton>
                  ),
                },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {isAdding && <TokenDialog onClose={() => setAdding(false)} />}
    </Manage>
  );
}

function TokenDialog({ onClose }: { onClose: () => void }) {
  const { tenantId } = useWho();
  const tenant = useTenantOfNew();
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [days, setDays] = useState("365");
  const [made, setMade] = useState("");
  const sending = useSending(async () => {
    const token = await call<ApiToken>("POST", "/api-tokens", { ...(tenantId && tenant), name, role, ...inDays(days) });
    setMade(token.token ?? "");
    await refresh("/api-tokens");
  });
  return (
    <Dialog title="Make an API token" onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        {made ? (
          <>
            <div className="dialog-body">
              <p>Copy it now: it is not shown again. Programs send it as “Authorization: Bearer …”.</p>
              <CopyText text={made} label="The token" />
            </div>
            <footer>
              <button type="button" className="primary" onClick={onClose}>
                Done
              </button>
            </footer>
          </>
        ) : (
          <>
            <div className="dialog-body">
              <TextField label="Name" required placeholder="Monitoring" value={name} onChange={setName} error={sending.errorOf("name")} />
              <SelectField label="Role" value={role} onChange={(word) => setRole(word as Role)} options={ROLES} />
              <SelectField label="Ends" value={days} onChange={setDays} options={ENDS} />
              <FormError error={sending.error} fields={["name"]} />
            </div>
            <DialogFooter onClose={onClose} isBusy={sending.isBusy} action="Make it" />
          </>
        )}
      </form>
    </Dialog>
  );
}

export function EnrolmentScreen() {
  const tokens = useList<EnrolmentToken>("/enrolment-tokens");
  const [isAdding, setAdding] = useState(false);
  const revoke = useAct((id: EnrolmentToken["id"]) => call("DELETE", `/enrolment-tokens/${id}`), { done: "Taken back.", again: ["/enrolment-tokens"] });
  return (
    <Manage
      title="Enrolment"
      lead="Tokens with which agents introduce themselves."
      actions={
        <button type="button" className="primary" onClick={() => setAdding(true)}>
          Make a token
        </button>
      }
    >
      <Panel className="flush">
        <Loaded from={tokens}>
          {(items) => (
            <Table
              label="Enrolment tokens"
              rows={items}
              keyOf={(token) => token.id}
              empty={<Empty title="No tokens">Make one for a single host, or one for many that you put into your installation script.</Empty>}
              columns={[
                { head: "For", isName: true, cell: (token) => token.description || "–" },
                {
                  head: "State",
                  className: "mark",
                  cell: (token) =>
                    token.expires_at && Date.parse(token.expires_at) < serverNow() ? (
                      <Status tone="excused">Ended</Status>
                    ) : token.max_uses !== null && token.use_count >= token.max_uses ? (
                      <Status tone="good">Used up</Status>
                    ) : (
                      <Status tone="calm">Open</Status>
                    ),
                },
                { head: "Used", isNumber: true, cell: (token) => `${token.use_count} of ${token.max_uses ?? "any"}` },
                { head: "Made", cell: (token) => <Time at={token.created_at} /> },
                { head: "Ends", cell: (token) => <Time at={token.expires_at} /> },
                {
                  head: "Change",
                  className: "end",
                  cell: (token) => (
                    <ConfirmButton className="small" label="Take back" title="Take back this token?" onConfirm={() => revoke.mutateAsync(token.id)}>
                      <p>No further host can enrol with it. Those that did stay.</p>
                    </ConfirmButton>
                  ),
                },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {isAdding && <EnrolmentDialog onClose={() => setAdding(false)} />}
    </Manage>
  );
}

function EnrolmentDialog({ onClose }: { onClose: () => void }) {
  const tenant = useTenantOfNew();
  const [description, setDescription] = useState("");
  const [uses, setUses] = useState<number | null>(1);
  const [days, setDays] = useState("1");
  const [made, setMade] = useState<EnrolmentToken | null>(null);
  const sending = useSending(async () => {
    setMade(await call("POST", "/enrolment-tokens", { ...tenant, description, ...(uses && { max_uses: uses }), ...inDays(days) }));
    await refresh("/enrolment-tokens");
  });
  return (
    <Dialog title="Make an enrolment token" onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        {made ? (
          <>
            <div className="dialog-body">
              <p>Run this on the host as an administrator. The token is not shown again.</p>
              <CopyText text={made.command ?? made.token ?? ""} label="The command to run on the host" />
            </div>
            <footer>
              <button type="button" className="primary" onClick={onClose}>
                Done
              </button>
            </footer>
          </>
        ) : (
          <>
            <div className="dialog-body">
              <TextField label="For" required placeholder="Hosts in the branch office" value={description} onChange={setDescription} error={sending.errorOf("description")} />
              <div className="two">
                <NumberField label="Hosts" min={1} hint="Empty: any number" value={uses} onChange={setUses} error={sending.errorOf("max_uses")} />
                <SelectField label="Ends" value={days} onChange={setDays} options={ENDS} />
              </div>
              <FormError error={sending.error} fields={["description", "max_uses"]} />
            </div>
            <DialogFooter onClose={onClose} isBusy={sending.isBusy} action="Make it" />
          </>
        )}
      </form>
    </Dialog>
  );
}

export function TenantsScreen() {
  const tenants = useList<Tenant>("/tenants");
  const may = useMay();
  const [editing, setEditing] = useState<Tenant | "new" | null>(null);
  return (
    <Manage
      title="Tenants"
      lead="Whose hosts and backups these are. One tenant's people never see another's things."
      actions={
        may.isInstallation && (
          <button type="button" className="primary" onClick={() => setEditing("new")}>
            Add a tenant
          </button>
        )
      }
    >
      <Panel className="flush">
        <Loaded from={tenants}>
          {(items) => (
            <Table
              label="Tenants"
              rows={items}
              keyOf={(tenant) => tenant.id}
              columns={[
                { head: "Tenant", isName: true, by: (tenant) => tenant.name, cell: (tenant) => tenant.name },
                { head: "Time zone", cell: (tenant) => tenant.time_zone },
                { head: "Hosts", isNumber: true, cell: (tenant) => tenant.host_count ?? 0 },
                { head: "VMs", isNumber: true, cell: (tenant) => tenant.vm_count ?? 0 },
                { head: "Since", cell: (tenant) => <Time at={tenant.created_at} /> },
                {
                  head: "Change",
                  className: "end",
                  cell: (tenant) => (
                    <button type="button" className="small" aria-label={`Edit ${tenant.name}`} onClick={() => setEditing(tenant)}>
                      Edit
                    </button>
                  ),
                },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {editing && <TenantDialog tenant={editing === "new" ? null : editing} onClose={() => setEditing(null)} />}
    </Manage>
  );
}

function TenantDialog({ tenant, onClose }: { tenant: Tenant | null; onClose: () => void }) {
  const { renew } = useWho();
  const [name, setName] = useState(tenant?.name ?? "");
  const [zone, setZone] = useState(tenant?.time_zone ?? (Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC"));
  const sending = useSending(async () => {
    await call(tenant ? "PATCH" : "POST", tenant ? `/tenants/${tenant.id}` : "/tenants", { name, time_zone: zone });
    await Promise.all([refresh("/tenants"), renew()]);
    onClose();
  });
  return (
    <Dialog title={tenant ? `Edit ${tenant.name}` : "Add a tenant"} onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          <TextField label="Name" required value={name} onChange={setName} error={sending.errorOf("name")} />
          <TextField label="Time zone" required hint="Such as Europe/Berlin. Its schedules follow it." value={zone} onChange={setZone} error={sending.errorOf("time_zone")} />
          <FormError error={sending.error} fields={["name", "time_zone"]} />
        </div>
        <DialogFooter onClose={onClose} isBusy={sending.isBusy} action="Save" />
      </form>
    </Dialog>
  );
}

// What was done, as people say it; what is not named here is told by its own words.
const ACTIONS: Record<string, string> = {
  "session.create": "Signed in",
  "session.delete": "Signed out",
  "session.refuse": "Was refused to sign in",
  "user.totp": "Switched the second factor on",
  "user.totp_remove": "Switched the second factor off",
  "user.password": "Changed the password",
  "repository.password": "Looked at the password",
  "repository.operation": "Ordered maintenance",
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
    return [[plain(key), value === true ? "yes" : value === false ? "no" : String(value)]];
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

function AuditObject({ entry }: { entry: AuditEntry }) {
  const name = (entry.detail as { name?: unknown } | null)?.name;
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
  const entries = useGet<{ items: AuditEntry[] }>(`/audit?limit=500${kind && `&object_kind=${encodeURIComponent(kind)}`}`);
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
          {({ items }) => (
            <Table
              label="Audit log, newest first"
              rows={items}
              keyOf={(entry) => entry.id}
              empty={<Empty title="Nothing was changed">Every change that people and programs make is written down here.</Empty>}
              columns={[
                { head: "When", cell: (entry) => <Time at={entry.at} /> },
                { head: "Who", className: "wordy", by: (entry) => entry.actor, cell: (entry) => entry.actor },
                { head: "What", isName: true, by: (entry) => entry.action, cell: (entry) => actionText(entry.action) },
                { head: "What it was done to", className: "wordy nowrap", cell: (entry) => <AuditObject entry={entry} /> },
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

export function SettingsScreen() {
  const settings = useGet<Settings>("/settings");
  return (
    <Manage title="Settings" lead="Of the whole installation.">
      <Loaded from={settings}>{(data) => <SettingsForm settings={data} />}</Loaded>
    </Manage>
  );
}

const NO_SMTP: Smtp = { host: "", port: 587, tls: "starttls", username: "", from: "" };

const HISTORY: { member: HistoryMember; name: string }[] = [
  { member: "runs_days", name: "Runs, work on repositories" },
  { member: "events_days", name: "Their events and logs" },
  { member: "alarms_days", name: "Alarms that are over" },
  { member: "audit_days", name: "The audit log" },
  { member: "gone_points_days", name: "Points that were removed" },
  { member: "commands_days", name: "Commands to agents" },
  { member: "messages_days", name: "Messages that were sent" },
];

function SettingsForm({ settings }: { settings: Settings }) {
  const [form, setForm] = useState({ ...settings, smtp: settings.smtp ?? NO_SMTP });
  const [password, setPassword] = useState("");
  const setSmtp = (change: Partial<Smtp>) => setForm({ ...form, smtp: { ...form.smtp, ...change } });
  const sending = useSending(async () => {
    const { public_url, min_agent_version, webhook_networks, history, smtp } = form;
    await call("PUT", "/settings", { public_url, min_agent_version, webhook_networks, history, smtp: smtp.host ? { ...smtp, ...(password && { password }) } : null });
    setPassword("");
    await refresh("/settings");
    say("good", "Saved.");
  });
  return (
    <form onSubmit={sending.onSubmit}>
      <Panel title="Server">
        <TextField
          label="Address"
          type="url"
          placeholder="https://backup.example.com"
          hint="As agents and people reach this server; it stands in the enrolment command and in messages."
          value={form.public_url}
          onChange={(public_url) => setForm({ ...form, public_url })}
          error={sending.errorOf("public_url")}
        />
        <TextField
          label="Oldest agent that is accepted"
          placeholder="1.0.0"
          hint="Older agents are refused and raise an alarm. Empty: all are accepted."
          value={form.min_agent_version}
          onChange={(min_agent_version) => setForm({ ...form, min_agent_version })}
          error={sending.errorOf("min_agent_version")}
        />
        <LinesField
          label="Private addresses that webhooks may reach"
          hint="One on each line: a network such as 10.1.0.0/16, an address, or a host's name. Public addresses need none."
          placeholder="10.1.0.0/16"
          rows={2}
          value={form.webhook_networks}
          onChange={(webhook_networks) => setForm({ ...form, webhook_networks })}
          error={sending.errorOf("webhook_networks")}
        />
      </Panel>
      <Panel title="Mail server">
        <div className="two">
          <TextField label="Host" placeholder="smtp.example.com" value={form.smtp.host} onChange={(host) => setSmtp({ host })} error={sending.errorOf("smtp.host")} />
          <NumberField label="Port" min={1} max={65535} value={form.smtp.port} onChange={(port) => setSmtp({ port: port ?? 587 })} error={sending.errorOf("smtp.port")} />
        </div>
        <SelectField
          label="Encryption"
          value={form.smtp.tls}
          onChange={(tls) => setSmtp({ tls: tls as Smtp["tls"] })}
          options={[
            { value: "starttls", name: "STARTTLS" },
            { value: "tls", name: "TLS from the start" },
            { value: "none", name: "None: only inside your own network" },
          ]}
        />
        <div className="two">
          <TextField label="User" autoComplete="off" value={form.smtp.username} onChange={(username) => setSmtp({ username })} error={sending.errorOf("smtp.username")} />
          <TextField
            label="Password"
            type="password"
            autoComplete="new-password"
            hint={settings.has_smtp_password ? "One is set. Empty: it stays." : undefined}
            value={password}
            onChange={setPassword}
            error={sending.errorOf("smtp.password")}
          />
        </div>
        <TextField label="Sender" placeholder="backup@example.com" value={form.smtp.from} onChange={(from) => setSmtp({ from })} error={sending.errorOf("smtp.from")} />
      </Panel>
      <Panel title="How long history is kept">
        <p className="muted">What is over goes when it is older. What is in repositories does not depend on it: points are kept by their jobs' retention alone.</p>
        <div className="two">
          {HISTORY.map(({ member, name }) => (
            <NumberField
              key={member}
              label={name}
              unit="days"
              min={1}
              max={3650}
              required
              value={form.history[member]}
              onChange={(days) => setForm({ ...form, history: { ...form.history, [member]: days ?? settings.history[member] } })}
              error={sending.errorOf(`history.${member}`)}
            />
          ))}
        </div>
      </Panel>
      <FormError error={sending.error} fields={["public_url", "min_agent_version", "webhook_networks", "history"]} />
      <button type="submit" className="primary" disabled={sending.isBusy}>
        Save the settings
      </button>
    </form>
  );
}
