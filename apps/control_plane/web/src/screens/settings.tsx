// The settings of the whole installation.

import { useState } from "react";
import { call, type HistoryMember, type Settings, type Smtp } from "../api";
import { refresh, useGet } from "../fetching";
import { CheckField, FormError, LinesField, NumberField, SelectField, TextField, useSending } from "../ui/form";
import { Loaded, Panel } from "../ui/parts";
import { say } from "../ui/toasts";
import { Manage } from "./manage";

export function SettingsScreen() {
  const settings = useGet<Settings>("/settings");
  return (
    <Manage title="Settings" lead="Of the whole installation.">
      <Loaded from={settings}>{(data) => <SettingsForm settings={data} />}</Loaded>
    </Manage>
  );
}

const NO_SMTP: Smtp = { host: "", port: 587, tls: "starttls", username: "", from: "" };

const HISTORY: { member: HistoryMember; name: string; least: number }[] = [
  { member: "runs_days", name: "Runs, work on repositories", least: 35 },
  { member: "events_days", name: "Their events and logs", least: 35 },
  { member: "alarms_days", name: "Alarms that are over", least: 35 },
  { member: "audit_days", name: "The audit log", least: 90 },
  { member: "gone_points_days", name: "Points that were removed", least: 35 },
  { member: "commands_days", name: "Commands to agents", least: 7 },
  { member: "messages_days", name: "Messages that were sent", least: 7 },
];

function SettingsForm({ settings }: { settings: Settings }) {
  const [form, setForm] = useState({ ...settings, smtp: settings.smtp ?? NO_SMTP });
  const [password, setPassword] = useState("");
  const [isCleared, setCleared] = useState(false);
  const setSmtp = (change: Partial<Smtp>) => setForm({ ...form, smtp: { ...form.smtp, ...change } });
  const sending = useSending(async () => {
    const { public_url, min_agent_version, webhook_networks, history, smtp } = form;
    await call("PUT", "/settings", { public_url, min_agent_version, webhook_networks, history, smtp: smtp.host ? { ...smtp, ...(isCleared ? { password: "" } : password && { password }) } : null });
    setPassword("");
    setCleared(false);
    await refresh("/settings");
    say("good", "Saved.");
  });
  return (
    <form onSubmit={sending.onSubmit} className="settings">
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
            hint={settings.has_smtp_password && !isCleared ? "One is set. Empty: it stays." : undefined}
            disabled={isCleared}
            value={isCleared ? "" : password}
            onChange={setPassword}
            error={sending.errorOf("smtp.password")}
          />
        </div>
        {settings.has_smtp_password && (
          <CheckField label="Forget the password that is set" hint="Mail is then sent without one." checked={isCleared} onChange={setCleared} />
        )}
        <TextField label="Sender" placeholder="backup@example.com" value={form.smtp.from} onChange={(from) => setSmtp({ from })} error={sending.errorOf("smtp.from")} />
      </Panel>
      <Panel title="How long history is kept">
        <p className="muted">What is over goes when it is older. What is in repositories does not depend on it: points are kept by their jobs' retention alone.</p>
        <div className="two even">
          {HISTORY.map(({ member, name, least }) => (
            <NumberField
              key={member}
              label={name}
              unit="days"
              min={least}
              max={3650}
              required
              value={form.history[member]}
              onChange={(days) => setForm({ ...form, history: { ...form.history, [member]: days ?? settings.history[member] } })}
              error={sending.errorOf(`history.${member}`)}
            />
          ))}
        </div>
      </Panel>
      <FormError error={sending.error} fields={["public_url", "min_agent_version", "webhook_networks", "smtp.host", "smtp.port", "smtp.username", "smtp.password", "smtp.from", "history"]} />
      <button type="submit" className="primary" disabled={sending.isBusy}>
        Save the settings
      </button>
    </form>
  );
}
