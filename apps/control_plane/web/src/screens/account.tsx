// One's own account: password and second factor.

import qrcode from "qrcode-generator";
import { useMemo, useState } from "react";
import { call } from "../api";
import { capital } from "../format";
import { useWho } from "../session";
import { Dialog, DialogFooter } from "../ui/dialog";
import { CheckField, FormError, TextField, useSending } from "../ui/form";
import { CopyText, Fact, Facts, Page, Panel } from "../ui/parts";
import { Status } from "../ui/status";
import { say } from "../ui/toasts";

export function AccountScreen() {
  const { session } = useWho();
  const { user } = session;
  return (
    <Page title="Your account">
      <Panel title="You">
        <Facts>
          <Fact name="Name">{user.name}</Fact>
          <Fact name="E-mail">{user.email}</Fact>
          <Fact name="Role">{capital(user.role)}</Fact>
          <Fact name="Tenant">{user.tenant_id === null ? "All (the installation)" : session.tenants.find((t) => t.id === user.tenant_id)?.name}</Fact>
        </Facts>
      </Panel>
      <div className="columns">
        <PasswordPanel />
        <SecondFactorPanel />
      </div>
    </Page>
  );
}

function PasswordPanel() {
  const { session, renew } = useWho();
  const [current, setCurrent] = useState("");
  const [next, setNext] = useState("");
  const [takesTokens, setTakesTokens] = useState(false);
  const sending = useSending(async () => {
    await call("POST", "/session/password", { current, new: next, ...(takesTokens && { revoke_tokens: true }) });
    setCurrent("");
    setNext("");
    say("good", "Your password is changed. Your other sessions have ended.");
    await renew();
  });
  return (
    <Panel title="Password">
      <form onSubmit={sending.onSubmit}>
        <input type="hidden" autoComplete="username" value={session.user.email} readOnly />
        <TextField label="Current password" type="password" autoComplete="current-password" required value={current} onChange={setCurrent} error={sending.errorOf("current")} />
        <TextField label="New password" type="password" autoComplete="new-password" required minLength={12} hint="At least 12 characters." value={next} onChange={setNext} error={sending.errorOf("new")} />
        <CheckField label="Take back the API tokens that I made" hint="If somebody else may know the old password." checked={takesTokens} onChange={setTakesTokens} />
        <FormError error={sending.error} fields={["current", "new"]} />
        <button type="submit" disabled={sending.isBusy}>
          Change the password
        </button>
      </form>
    </Panel>
  );
}

function SecondFactorPanel() {
  const { session } = useWho();
  const [dialog, setDialog] = useState<"on" | "off" | null>(null);
  const isOn = session.user.has_totp;
  return (
    <Panel title="Second factor">
      <p>
        <Status tone={isOn ? "good" : "warning"}>{isOn ? "On" : "Off"}</Status>
      </p>
      <p className="muted">
        {isOn
          ? "Signing in takes a code from your authenticator app as well."
          : "With a code from an authenticator app, a stolen password alone opens nothing. Whoever can restore can also read: switch it on."}
      </p>
      <button type="button" className={isOn ? "" : "primary"} onClick={() => setDialog(isOn ? "off" : "on")}>
        {isOn ? "Switch it off…" : "Switch it on…"}
      </button>
      {dialog === "on" && <SwitchOn onClose={() => setDialog(null)} />}
      {dialog === "off" && <SwitchOff onClose={() => setDialog(null)} />}
    </Panel>
  );
}

function QrCode({ text }: { text: string }) {
  const [path, modules] = useMemo(() => {
    const code = qrcode(0, "M");
    code.addData(text);
    code.make();
    const n = code.getModuleCount();
    let d = "";
    for (let y = 0; y < n; y += 1) for (let x = 0; x < n; x += 1) if (code.isDark(y, x)) d += `M${x + 4} ${y + 4}h1v1h-1z`;
    return [d, n + 8];
  }, [text]);
  return (
    <svg className="qr" viewBox={`0 0 ${modules} ${modules}`} role="img" aria-label="QR code for your authenticator app" shapeRendering="crispEdges">
      <rect width={modules} height={modules} className="paper" />
      <path d={path} className="ink" />
    </svg>
  );
}

function SwitchOn({ onClose }: { onClose: () => void }) {
  const { renew } = useWho();
  const [password, setPassword] = useState("");
  const [secret, setSecret] = useState<{ secret: string; uri: string } | null>(null);
  const [code, setCode] = useState("");
  const sending = useSending(async () => {
    if (!secret) {
      setSecret(await call("POST", "/session/totp", { password }));
      return;
    }
    await call("PUT", "/session/totp", { code });
    await renew();
    say("good", "The second factor is on.");
    onClose();
  });
  return (
    <Dialog title="Second factor" onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          {secret ? (
            <>
              <p>Scan this with your authenticator app, then give the code that it shows.</p>
              <QrCode text={secret.uri} />
              <CopyText text={secret.secret} label="The secret, to type it in by hand" />
              <TextField label="Code" inputMode="numeric" autoComplete="one-time-code" required autoFocus value={code} onChange={(v) => setCode(v.replaceAll(" ", ""))} error={sending.errorOf("code")} />
            </>
          ) : (
            <TextField label="Your password" type="password" autoComplete="current-password" required autoFocus value={password} onChange={setPassword} error={sending.errorOf("password")} />
          )}
          <FormError error={sending.error} fields={["password", "code"]} />
        </div>
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action={secret ? "Switch it on" : "Next"} />
      </form>
    </Dialog>
  );
}

function SwitchOff({ onClose }: { onClose: () => void }) {
  const { renew } = useWho();
  const [password, setPassword] = useState("");
  const [code, setCode] = useState("");
  const sending = useSending(async () => {
    await call("DELETE", "/session/totp", { password, code });
    await renew();
    say("good", "The second factor is off.");
    onClose();
  });
  return (
    <Dialog title="Switch the second factor off" onClose={onClose}>
      <form onSubmit={sending.onSubmit}>
        <div className="dialog-body">
          <TextField label="Your password" type="password" autoComplete="current-password" required autoFocus value={password} onChange={setPassword} error={sending.errorOf("password")} />
          <TextField label="Code" inputMode="numeric" autoComplete="one-time-code" required value={code} onChange={setCode} error={sending.errorOf("code")} />
          <FormError error={sending.error} fields={["password", "code"]} />
        </div>
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Switch it off" tone="danger" />
      </form>
    </Dialog>
  );
}
