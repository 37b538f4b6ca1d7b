// Alarms, and where they are sent.

import { useId, useRef, useState } from "react";
import { type Alarm, call, type Channel } from "../api";
import { alarmName, moment, plain } from "../format";
import { refresh, useAct, useList } from "../fetching";
import { Link, usePath, useQueryValue } from "../route";
import { serverNow } from "../server_time";
import { useMay } from "../session";
import { ConfirmButton, Dialog, DialogFooter } from "../ui/dialog";
import { CheckField, Choice, ChooseAndDo, FormError, LinesField, SelectField, TextField, useSending } from "../ui/form";
import { Empty, Loaded, Page, Panel, Tabs, Time } from "../ui/parts";
import { SeverityMark, Status } from "../ui/status";
import { Table } from "../ui/table";
import { useTenantOfNew } from "../ui/tenant";

const TABS = [
  { href: "/alarms", name: "Alarms" },
  { href: "/alarms/channels", name: "Where they go" },
];
const AGAIN = ["/alarms", "/overview"];

function subjectLink(alarm: Alarm): string | null {
  const places: Record<string, string> = { vm: "/vms/", job: "/jobs/", host: "/hosts/", repository: "/repositories/", run: "/runs/" };
  if (alarm.subject_kind === "channel") return "/alarms/channels";
  const place = places[alarm.subject_kind];
  return place ? place + alarm.subject_id : null;
}

const SNOOZES = [
  { hours: 4, name: "4 hours" },
  { hours: 24, name: "A day" },
  { hours: 168, name: "A week" },
];

// `about` is where the message stands, for those who hear a button's name without it.
function AlarmActions({ alarm, about }: { alarm: Alarm; about: string }) {
  const may = useMay();
  const acknowledge = useAct(() => call("POST", `/alarms/${alarm.id}/acknowledge`), { done: "Acknowledged: others see that you take care of it.", again: AGAIN });
  const resolve = useAct(() => call("POST", `/alarms/${alarm.id}/resolve`), { done: "Resolved.", again: AGAIN });
  const snooze = useAct(
    (hours: number) => call("POST", `/alarms/${alarm.id}/snooze`, { until: new Date(serverNow() + hours * 3_600_000).toISOString() }),
    { done: "Kept quiet.", again: AGAIN },
  );
  const box = useRef<HTMLSpanElement>(null);
  if (!may.operate || alarm.resolved_at) return null;
  // The button that was pressed goes away: whoever pressed it goes on from what stays.
  const goOn = (next: HTMLElement | null | undefined) => box.current?.contains(document.activeElement) && next?.focus();
  return (
    <span className="actions" ref={box}>
      {!alarm.acknowledged_at && (
        <button type="button" className="small" aria-describedby={about} disabled={acknowledge.isPending} onClick={() => acknowledge.mutate(undefined, { onSuccess: () => goOn(box.current?.querySelector("select")) })}>
          Acknowledge
        </button>
      )}
      <ChooseAndDo
        className="small"
        label={`Keep quiet: ${alarm.subject_name}`}
        prompt="Snooze…"
        action="Snooze"
        options={SNOOZES.map(({ hours, name }) => ({ value: String(hours), name }))}
        isBusy={snooze.isPending}
        onDo={(hours) => snooze.mutate(Number(hours))}
      />
      <button type="button" className="small" aria-describedby={about} disabled={resolve.isPending} onClick={() => resolve.mutate(undefined, { onSuccess: () => goOn(document.getElementById("content")) })}>
        Resolve
      </button>
    </span>
  );
}

// The message, with what it is about leading there.
function Message({ alarm }: { alarm: Alarm }) {
  const href = subjectLink(alarm);
  const name = alarm.subject_name || plain(alarm.subject_kind);
  const subject = <strong>{href ? <Link href={href}>{name}</Link> : name}</strong>;
  const at = alarm.message.indexOf(name);
  if (at < 0) {
    return (
      <>
        {subject}: {alarm.message}
      </>
    );
  }
  return (
    <>
      {alarm.message.slice(0, at)}
      {subject}
      {alarm.message.slice(at + name.length)}
    </>
  );
}

function AlarmItem({ alarm }: { alarm: Alarm }) {
  const id = useId();
  return (
    <li>
      <SeverityMark severity={alarm.severity} />
      <div>
        <p id={id}>
          <Message alarm={alarm} />
        </p>
        <p className="muted">
          {alarmName(alarm.kind)}, opened <Time at={alarm.opened_at} />
          {alarm.acknowledged_at && `, taken care of by ${alarm.acknowledged_by}`}
          {alarm.snoozed_until && Date.parse(alarm.snoozed_until) > serverNow() && `, quiet until ${moment(alarm.snoozed_until)}`}
          {alarm.resolved_at && (
            <>
              , resolved <Time at={alarm.resolved_at} />
              {alarm.resolved_by && ` by ${alarm.resolved_by === "system" ? "itself" : alarm.resolved_by}`}
            </>
          )}
        </p>
      </div>
      <AlarmActions alarm={alarm} about={id} />
    </li>
  );
}

export const AlarmList = ({ alarms }: { alarms: Alarm[] }) => (
  <ul className="alarms">
    {alarms.map((alarm) => (
      <AlarmItem key={alarm.id} alarm={alarm} />
    ))}
  </ul>
);

export function AlarmsScreen() {
  const [state, setState] = useQueryValue("state", "open");
  const may = useMay();
  const path = usePath();
  const alarms = useList<Alarm>(`/alarms?state=${state === "resolved" ? "resolved" : "open"}`);
  return (
    <Page title="Alarms" lead="What is wrong, since when, and what to do about it. What mends itself is resolved by itself.">
      {may.own && <Tabs label="Alarms" tabs={TABS} path={path} />}
      <div className="filters">
        <div className="chips" role="group" aria-label="Which alarms">
          {["open", "resolved"].map((word) => (
            <button key={word} type="button" aria-pressed={state === word} onClick={() => setState(word)}>
              {plain(word)}
            </button>
          ))}
        </div>
      </div>
      <Panel>
        <Loaded from={alarms}>
          {(items) =>
            items.length ? (
              <AlarmList alarms={items} />
            ) : state === "open" ? (
              <Empty title="Nothing needs a decision">
                Runs that fail or do not happen, VMs that nobody protects, silent agents and full repositories would stand here.
              </Empty>
            ) : (
              <Empty title="No history yet">Alarms that were resolved are kept here.</Empty>
            )
          }
        </Loaded>
      </Panel>
    </Page>
  );
}

const NEW_CHANNEL = {
  name: "",
  kind: "email" as Channel["kind"],
  addresses: [] as string[],
  url: "",
  min_severity: "warning" as Channel["min_severity"],
  quiet_hours: null as Channel["quiet_hours"],
  summary_at: "07:00" as string | null,
  is_enabled: true,
};

export function ChannelsScreen() {
  const channels = useList<Channel>("/alarm-channels");
  const [editing, setEditing] = useState<Channel | "new" | null>(null);
  const may = useMay();
  return (
    <Page
      title="Where alarms go"
      lead="By e-mail or to a webhook, grouped, with quiet hours and a summary each day."
      actions={
        may.own && (
          <button type="button" className="primary" onClick={() => setEditing("new")}>
            Add a channel
          </button>
        )
      }
    >
      <Tabs label="Alarms" tabs={TABS} path={usePath()} />
      <Panel className="flush">
        <Loaded from={channels}>
          {(items) => (
            <Table
              label="Channels"
              rows={items}
              keyOf={(channel) => channel.id}
              empty={
                <Empty title="Alarms reach nobody yet">
                  They stand on the first screen, but nobody is told. Add an e-mail address or a webhook. E-mail needs a mail server,
                  which an owner sets under Manage, Settings.
                </Empty>
              }
              columns={[
                { head: "Name", isName: true, cell: (channel) => channel.name },
                { head: "To", className: "wordy", cell: (channel) => (channel.kind === "email" ? channel.addresses.join(", ") : channel.url) },
                { head: "From", cell: (channel) => <SeverityMark severity={channel.min_severity} /> },
                {
                  head: "Quiet",
                  cell: (channel) => (channel.quiet_hours ? `${channel.quiet_hours.from}–${channel.quiet_hours.to}` : "never"),
                },
                { head: "Summary", cell: (channel) => channel.summary_at ?? "none" },
                {
                  head: "State",
                  className: "mark",
                  cell: (channel) => <Status tone={channel.is_enabled ? "good" : "excused"}>{channel.is_enabled ? "On" : "Off"}</Status>,
                },
                { head: "Actions", className: "end", cell: (channel) => <ChannelActions channel={channel} onEdit={() => setEditing(channel)} /> },
              ]}
            />
          )}
        </Loaded>
      </Panel>
      {editing && <ChannelDialog channel={editing === "new" ? null : editing} onClose={() => setEditing(null)} />}
    </Page>
  );
}

function ChannelActions({ channel, onEdit }: { channel: Channel; onEdit: () => void }) {
  const test = useAct(
    async () => {
      const { sent, error } = await call<{ sent: boolean; error: string | null }>("POST", `/alarm-channels/${channel.id}/test`);
      if (!sent) throw new Error(error ?? "The message could not be sent.");
    },
    { done: "A test message is on its way." },
  );
  const remove = useAct(() => call("DELETE", `/alarm-channels/${channel.id}`), { done: "Removed.", again: ["/alarm-channels"] });
  return (
    <span className="actions">
      <button type="button" className="small" disabled={test.isPending} onClick={() => test.mutate(undefined)}>
        Test
      </button>
      <button type="button" className="small" onClick={onEdit}>
        Edit
      </button>
      <ConfirmButton
        className="small"
        label="Remove"
        title={`Remove ${channel.name}?`}
        onConfirm={() => remove.mutateAsync(undefined)}
      >
        <p>Alarms no longer go there.</p>
      </ConfirmButton>
    </span>
  );
}

function ChannelDialog({ channel, onClose }: { channel: Channel | null; onClose: () => void }) {
  const { tenant, field } = useTenantOfNew();
  const [form, setForm] = useState(() => {
    if (!channel) return NEW_CHANNEL;
    const { name, kind, addresses, url, min_severity, quiet_hours, summary_at, is_enabled } = channel;
    return { name, kind, addresses, url, min_severity, quiet_hours, summary_at, is_enabled };
  });
  const [secret, setSecret] = useState("");
  const [isCleared, setCleared] = useState(false);
  const set = (change: Partial<typeof form>) => setForm({ ...form, ...change });
  const sending = useSending(async () => {
    const { kind, addresses, url, ...rest } = form;
    const body = { ...rest, ...(kind === "email" ? { addresses } : { url, ...(isCleared ? { secret: "" } : secret && { secret }) }) };
    if (channel) await call("PATCH", `/alarm-channels/${channel.id}`, body);
    else await call("POST", "/alarm-channels", { ...body, kind, ...tenant });
    await refresh("/alarm-channels");
    onClose();
  });
  return (
    <Dialog title={channel ? `Edit ${channel.name}` : "Add a channel"} onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          {!channel && field}
          {!channel && (
            <Choice
              label="Kind"
              value={form.kind}
              onChange={(kind) => set({ kind })}
              options={[
                { value: "email", name: "E-mail" },
                { value: "webhook", name: "Webhook" },
              ]}
            />
          )}
          <TextField label="Name" required value={form.name} onChange={(name) => set({ name })} error={sending.errorOf("name")} />
          {form.kind === "email" ? (
            <LinesField label="Addresses" hint="One on each line." value={form.addresses} onChange={(addresses) => set({ addresses })} error={sending.errorOf("addresses")} />
          ) : (
            <>
              <TextField label="Address" type="url" required placeholder="https://" hint="A private address must be allowed by an owner of the installation first, under Manage, Settings." value={form.url} onChange={(url) => set({ url })} error={sending.errorOf("url")} />
              <TextField
                label="Secret"
                type="password"
                autoComplete="off"
                hint={!channel?.has_secret ? "Signs each message, so that the receiver knows it is ours." : isCleared ? undefined : "One is set. Leave empty to keep it."}
                disabled={isCleared}
                value={isCleared ? "" : secret}
                onChange={setSecret}
                error={sending.errorOf("secret")}
              />
              {channel?.has_secret && (
                <CheckField label="Forget the secret that is set" hint="Messages are then not signed." checked={isCleared} onChange={setCleared} />
              )}
            </>
          )}
          <SelectField
            label="From which severity on"
            value={form.min_severity}
            onChange={(word) => set({ min_severity: word as Channel["min_severity"] })}
            options={[
              { value: "info", name: "Notes and all above" },
              { value: "warning", name: "Warnings and critical" },
              { value: "critical", name: "Critical only" },
            ]}
          />
          <CheckField
            label="Quiet hours"
            hint="Only what is critical is sent then."
            checked={form.quiet_hours !== null}
            onChange={(isOn) => set({ quiet_hours: isOn ? { from: "22:00", to: "07:00" } : null })}
          />
          {form.quiet_hours && (
            <div className="two">
              <TextField label="From" type="time" required value={form.quiet_hours.from} onChange={(from) => set({ quiet_hours: { from, to: form.quiet_hours?.to ?? "" } })} />
              <TextField label="To" type="time" required value={form.quiet_hours.to} onChange={(to) => set({ quiet_hours: { to, from: form.quiet_hours?.from ?? "" } })} />
            </div>
          )}
          <CheckField label="A summary each day" checked={form.summary_at !== null} onChange={(isOn) => set({ summary_at: isOn ? "07:00" : null })} />
          {form.summary_at !== null && (
            <TextField label="Summary at" type="time" required value={form.summary_at} onChange={(summary_at) => set({ summary_at })} />
          )}
          <CheckField label="Switched on" checked={form.is_enabled} onChange={(is_enabled) => set({ is_enabled })} />
          <FormError error={sending.error} fields={["name", "addresses", "url", "secret"]} />
        </div>
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Save" />
      </form>
    </Dialog>
  );
}
