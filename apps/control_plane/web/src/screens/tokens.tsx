// Tokens: those with which programs call the API, and those with which agents introduce themselves.

import { type ReactNode, useState } from "react";
import { type ApiToken, call, type EnrolmentToken, type Role } from "../api";
import { plain } from "../format";
import { refresh, useAct, useList } from "../fetching";
import { serverNow } from "../server_time";
import { useWho } from "../session";
import { ConfirmButton, Dialog, DialogFooter } from "../ui/dialog";
import { FormError, NumberField, type Sending, SelectField, TextField, useSending } from "../ui/form";
import { CopyText, Empty, Time } from "../ui/parts";
import { Status } from "../ui/status";
import { useTenantOfNew } from "../ui/tenant";
import { ManagedList } from "./manage";
import { ROLES } from "./people";

const ENDS = [
  { value: "", name: "Never" },
  { value: "1", name: "In a day" },
  { value: "7", name: "In a week" },
  { value: "90", name: "In 90 days" },
  { value: "365", name: "In a year" },
];
const inDays = (days: string) => (days ? { expires_at: new Date(serverNow() + Number(days) * 86_400_000).toISOString() } : {});

interface TakeBackProps {
  path: string;
  name: string;
  // What it means for those who use it.
  children: ReactNode;
}

function TakeBack({ path, name, children }: TakeBackProps) {
  const revoke = useAct(() => call("DELETE", path), { done: "Taken back.", again: ["/api-tokens", "/enrolment-tokens"] });
  return (
    <ConfirmButton className="small" label="Take back" title={`Take back ${name}?`} onConfirm={() => revoke.mutateAsync(undefined)}>
      <p>{children}</p>
    </ConfirmButton>
  );
}

interface NewTokenProps {
  title: string;
  sending: Sending;
  // What was made: it is shown once.
  made: string;
  madeLabel: string;
  madeNote: string;
  onClose: () => void;
  children: ReactNode;
}

function NewTokenDialog({ title, sending, made, madeLabel, madeNote, onClose, children }: NewTokenProps) {
  return (
    <Dialog title={title} onClose={onClose}>
      {made ? (
        <>
          <div className="dialog-body">
            <p>{madeNote}</p>
            <CopyText text={made} label={madeLabel} />
          </div>
          <footer>
            <button type="button" className="primary" onClick={onClose}>
              Done
            </button>
          </footer>
        </>
      ) : (
        <form onSubmit={sending.onSubmit}>
          <div className="dialog-body">{children}</div>
          <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Make it" />
        </form>
      )}
    </Dialog>
  );
}

export function TokensScreen() {
  const tokens = useList<ApiToken>("/api-tokens");
  const [isAdding, setAdding] = useState(false);
  return (
    <ManagedList
      title="API tokens"
      lead="For programs: the API is described at /api/v1/openapi.json."
      add="Make a token"
      onAdd={() => setAdding(true)}
      from={tokens}
      empty={<Empty title="No tokens">With one, a script can start runs, or a monitor can read /metrics.</Empty>}
      columns={[
        { head: "Name", isName: true, by: (token) => token.name, cell: (token) => token.name },
        { head: "Role", cell: (token) => plain(token.role) },
        { head: "Made", cell: (token) => <Time at={token.created_at} /> },
        { head: "Last used", cell: (token) => <Time at={token.last_used_at} /> },
        { head: "Ends", cell: (token) => <Time at={token.expires_at} /> },
      ]}
      change={(token) => (
        <TakeBack path={`/api-tokens/${token.id}`} name={token.name}>
          Programs that use it are refused from now on.
        </TakeBack>
      )}
    >
      {isAdding && <TokenDialog onClose={() => setAdding(false)} />}
    </ManagedList>
  );
}

function TokenDialog({ onClose }: { onClose: () => void }) {
  const { tenantId, session } = useWho();
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [days, setDays] = useState("365");
  const [made, setMade] = useState("");
  const sending = useSending(async () => {
    const token = await call<ApiToken>("POST", "/api-tokens", { ...(session.user.tenant_id === null && tenantId && { tenant_id: tenantId }), name, role, ...inDays(days) });
    setMade(token.token ?? "");
    await refresh("/api-tokens");
  });
  return (
    <NewTokenDialog
      title="Make an API token"
      made={made}
      madeLabel="The token"
      madeNote="Copy it now: it is not shown again. Programs send it as “Authorization: Bearer …”."
      {...{ sending, onClose }}
    >
      <TextField label="Name" required placeholder="Monitoring" value={name} onChange={setName} error={sending.errorOf("name")} />
      <SelectField label="Role" value={role} onChange={(word) => setRole(word as Role)} options={ROLES} />
      <SelectField label="Ends" value={days} onChange={setDays} options={ENDS} />
      <FormError error={sending.error} fields={["name"]} />
    </NewTokenDialog>
  );
}

function EnrolmentState({ token }: { token: EnrolmentToken }) {
  if (token.expires_at && Date.parse(token.expires_at) < serverNow()) return <Status tone="excused">Ended</Status>;
  if (token.max_uses !== null && token.use_count >= token.max_uses) return <Status tone="good">Used up</Status>;
  return <Status tone="calm">Open</Status>;
}

export function EnrolmentScreen() {
  const tokens = useList<EnrolmentToken>("/enrolment-tokens");
  const [isAdding, setAdding] = useState(false);
  return (
    <ManagedList
      title="Enrolment"
      lead="Tokens with which agents introduce themselves."
      add="Make a token"
      onAdd={() => setAdding(true)}
      label="Enrolment tokens"
      from={tokens}
      empty={<Empty title="No tokens">Make one for a single host, or one for many that you put into your installation script.</Empty>}
      columns={[
        { head: "For", isName: true, cell: (token) => token.description || "–" },
        { head: "State", className: "mark", cell: (token) => <EnrolmentState token={token} /> },
        { head: "Used", isNumber: true, cell: (token) => (token.max_uses === null ? `${token.use_count}, no limit` : `${token.use_count} of ${token.max_uses}`) },
        { head: "Made", cell: (token) => <Time at={token.created_at} /> },
        { head: "Ends", cell: (token) => <Time at={token.expires_at} /> },
      ]}
      change={(token) => (
        <TakeBack path={`/enrolment-tokens/${token.id}`} name="this token">
          No further host can enrol with it. Those that did stay.
        </TakeBack>
      )}
    >
      {isAdding && <EnrolmentDialog onClose={() => setAdding(false)} />}
    </ManagedList>
  );
}

function EnrolmentDialog({ onClose }: { onClose: () => void }) {
  const { tenant, field } = useTenantOfNew();
  const [description, setDescription] = useState("");
  const [uses, setUses] = useState<number | null>(1);
  const [days, setDays] = useState("1");
  const [made, setMade] = useState("");
  const sending = useSending(async () => {
    const token = await call<EnrolmentToken>("POST", "/enrolment-tokens", { ...tenant, description, ...(uses && { max_uses: uses }), ...inDays(days) });
    setMade(token.command ?? token.token ?? "");
    await refresh("/enrolment-tokens");
  });
  return (
    <NewTokenDialog
      title="Make an enrolment token"
      made={made}
      madeLabel="The command to run on the host"
      madeNote="Run this on the host as an administrator. The token is not shown again."
      {...{ sending, onClose }}
    >
      {field}
      <TextField label="For" required placeholder="Hosts in the branch office" value={description} onChange={setDescription} error={sending.errorOf("description")} />
      <div className="two">
        <NumberField label="Hosts" min={1} hint="Empty: any number" value={uses} onChange={setUses} error={sending.errorOf("max_uses")} />
        <SelectField label="Ends" value={days} onChange={setDays} options={ENDS} />
      </div>
      <FormError error={sending.error} fields={["description", "max_uses"]} />
    </NewTokenDialog>
  );
}
