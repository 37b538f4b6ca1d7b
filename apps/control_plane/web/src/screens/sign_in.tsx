// The door: the first start, signing in, and a server that does not answer.

import { type ReactNode, useState } from "react";
import { ApiError, call, type Session } from "../api";
import { FormError, TextField, useSending } from "../ui/form";
import { useHeading } from "../ui/parts";

export function Door({ title, lead, children }: { title: string; lead?: string; children: ReactNode }) {
  const heading = useHeading(title);
  return (
    <main className="door">
      <div className="door-card">
        <img src="/icon.svg" alt="" width="44" height="44" />
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {lead && <p className="lead">{lead}</p>}
        {children}
      </div>
    </main>
  );
}

// The code that the server printed at its first start, when the address with it was opened. It does not stay there.
function codeOfAddress(): string {
  const code = new URLSearchParams(location.hash.slice(1)).get("code") ?? "";
  if (code) history.replaceState(null, "", location.pathname);
  return code;
}

interface FirstStartProps {
  needsCode: boolean;
  onDone: (session: Session) => void;
}

export function FirstStart({ needsCode, onDone }: FirstStartProps) {
  const [form, setForm] = useState({
    name: "",
    email: "",
    password: "",
    tenant_name: "",
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC",
  });
  const [code, setCode] = useState(codeOfAddress);
  const set = (key: keyof typeof form) => (value: string) => setForm({ ...form, [key]: value });
  const sending = useSending(async () => onDone(await call<Session>("POST", "/setup", { ...form, ...(needsCode && { setup_code: code }) })));
  return (
    <Door
      title="Welcome"
      lead="This server is new. Create the owner's account; a short guide then leads you to the first backup."
    >
      <form onSubmit={sending.onSubmit}>
        {needsCode && (
          <TextField
            label="Setup code"
            autoComplete="off"
            spellCheck={false}
            required
            autoFocus={!code}
            hint="The server printed it when it started: it shows that this server is yours."
            value={code}
            onChange={setCode}
            error={sending.errorOf("setup_code")}
          />
        )}
        <TextField label="Your name" autoComplete="name" required autoFocus={!needsCode || Boolean(code)} value={form.name} onChange={set("name")} error={sending.errorOf("name")} />
        <TextField label="E-mail" type="email" autoComplete="username" required value={form.email} onChange={set("email")} error={sending.errorOf("email")} />
        <TextField
          label="Password"
          type="password"
          autoComplete="new-password"
          required
          minLength={12}
          hint="At least 12 characters. A few words are easier to remember than many symbols."
          value={form.password}
          onChange={set("password")}
          error={sending.errorOf("password")}
        />
        <div className="two">
          <TextField label="Organisation" required hint="Hosts and backups belong to it." value={form.tenant_name} onChange={set("tenant_name")} error={sending.errorOf("tenant_name")} />
          <TextField label="Time zone" required hint="Schedules follow it." value={form.time_zone} onChange={set("time_zone")} error={sending.errorOf("time_zone")} />
        </div>
        <FormError error={sending.error} fields={["setup_code", ...Object.keys(form)]} />
        <button type="submit" className="primary wide" disabled={sending.isBusy}>
          {sending.isBusy ? "Creating the account…" : "Create the account"}
        </button>
      </form>
    </Door>
  );
}

export function SignIn({ onDone }: { onDone: (session: Session) => void }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const [needsCode, setNeedsCode] = useState(false);
  const sending = useSending(async () => {
    try {
      onDone(await call<Session>("POST", "/session", { email, password, ...(code && { code }) }));
    } catch (error) {
      if (error instanceof ApiError && error.code === "code_needed") {
        setNeedsCode(true);
        if (!code) return;
      }
      throw error;
    }
  });
  return (
    <Door title="Sign in" lead="See at a glance whether every VM is safe.">
      <form onSubmit={sending.onSubmit}>
        <TextField label="E-mail" type="email" autoComplete="username" required autoFocus value={email} onChange={setEmail} />
        <TextField label="Password" type="password" autoComplete="current-password" required value={password} onChange={setPassword} />
        {needsCode && (
          <TextField
            label="Code"
            autoComplete="one-time-code"
            inputMode="numeric"
            pattern="[0-9 ]{6,8}"
            required
            autoFocus
            hint="The six digits that your authenticator app shows now."
            value={code}
            onChange={(value) => setCode(value.replaceAll(" ", ""))}
          />
        )}
        <FormError error={sending.error} />
        <button type="submit" className="primary wide" disabled={sending.isBusy}>
          {sending.isBusy ? "Signing in…" : "Sign in"}
        </button>
        <p className="hint">Lost your password? An owner can set a new one; so can whoever runs the server, with “e3-control-plane user reset-password”.</p>
      </form>
    </Door>
  );
}
