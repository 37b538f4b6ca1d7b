// People: who may sign in, and what they may do.

import { useState } from "react";
import { call, type Role, type User } from "../api";
import { plain } from "../format";
import { refresh, useAct, useList } from "../fetching";
import { useTenantInSight, useWho } from "../session";
import { ConfirmButton, Dialog, DialogFooter } from "../ui/dialog";
import { CheckField, FormError, SelectField, TextField, useSending } from "../ui/form";
import { Time } from "../ui/parts";
import { Status } from "../ui/status";
import { ManagedList } from "./manage";

export const ROLES = [
  { value: "viewer", name: "Viewer: looks" },
  { value: "operator", name: "Operator: runs, restores, changes jobs" },
  { value: "owner", name: "Owner: manages everything" },
];

export function PeopleScreen() {
  const people = useList<User>("/users");
  const { session } = useWho();
  const [editing, setEditing] = useState<User | "new" | null>(null);
  const tenantName = (id: string | null) => (id === null ? "All" : (session.tenants.find((t) => t.id === id)?.name ?? id));
  const state = (user: User) => <Status tone={user.is_disabled ? "excused" : "good"}>{user.is_disabled ? "Disabled" : "Active"}</Status>;
  return (
    <ManagedList
      title="People"
      lead="Who may sign in, and what they may do."
      add="Add a person"
      onAdd={() => setEditing("new")}
      from={people}
      columns={[
        { head: "State", className: "mark", cell: state },
        { head: "Name", isName: true, by: (user) => user.name, cell: (user) => <>{user.name}<small>{user.email}</small></> },
        { head: "Role", by: (user) => user.role, cell: (user) => plain(user.role) },
        { head: "Tenant", cell: (user) => tenantName(user.tenant_id) },
        { head: "Second factor", cell: (user) => <Status tone={user.has_totp ? "good" : "calm"}>{user.has_totp ? "On" : "Off"}</Status> },
        { head: "Since", cell: (user) => <Time at={user.created_at} /> },
      ]}
      change={(user) => (
        <button type="button" className="small" aria-label={`Edit ${user.name}`} onClick={() => setEditing(user)}>
          Edit
        </button>
      )}
    >
      {editing && <PersonDialog user={editing === "new" ? null : editing} onClose={() => setEditing(null)} />}
    </ManagedList>
  );
}

function PersonDialog({ user, onClose }: { user: User | null; onClose: () => void }) {
  const { session, renew } = useWho();
  const inSight = useTenantInSight();
  const isOfInstallation = session.user.tenant_id === null;
  // One's own password and second factor are changed on the page "Your account", where the old one is asked for.
  const isSelf = user?.id === session.user.id;
  const [name, setName] = useState(user?.name ?? "");
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>(user?.role ?? "operator");
  const [password, setPassword] = useState("");
  const [keepsTokens, setKeepsTokens] = useState(false);
  const [isDisabled, setDisabled] = useState(user?.is_disabled ?? false);
  const [resetTotp, setResetTotp] = useState(false);
  const [tenantId, setTenantId] = useState(inSight);
  const again = ["/users"];
  const remove = useAct(() => call("DELETE", `/users/${user?.id}`), { done: "Removed.", again });
  const sending = useSending(async () => {
    if (user) {
      await call("PATCH", `/users/${user.id}`, { name, role, is_disabled: isDisabled, ...(password && { password, ...(keepsTokens && { keeps_tokens: true }) }), ...(resetTotp && { reset_totp: true }) });
    } else {
      await call("POST", "/users", { email, name, role, password, ...(isOfInstallation && tenantId && { tenant_id: tenantId }) });
    }
    await refresh(...again);
    if (isSelf) await renew();
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
          {!isSelf && (
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
          )}
          {user && password && (
            <CheckField
              label="Keep their API tokens"
              hint="The password was only forgotten. Else all that they made is taken back."
              checked={keepsTokens}
              onChange={setKeepsTokens}
            />
          )}
          {user && !isSelf && (
            <>
              <CheckField label="Disabled" hint="May not sign in; their sessions end." checked={isDisabled} onChange={setDisabled} />
              {user.has_totp && <CheckField label="Reset the second factor" hint="When they lost their phone." checked={resetTotp} onChange={setResetTotp} />}
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
            </>
          )}
          <FormError error={sending.error} fields={["name", "email", "role", "tenant_id", "password"]} />
        </div>
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Save" />
      </form>
    </Dialog>
  );
}
