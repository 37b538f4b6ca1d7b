// Tenants: whose hosts and backups there are.

import { useState } from "react";
import { call, type Tenant } from "../api";
import { refresh, useList } from "../fetching";
import { useMay, useWho } from "../session";
import { Dialog, DialogFooter } from "../ui/dialog";
import { FormError, TextField, useSending } from "../ui/form";
import { Time } from "../ui/parts";
import { ManagedList } from "./manage";

export function TenantsScreen() {
  const tenants = useList<Tenant>("/tenants");
  const may = useMay();
  const [editing, setEditing] = useState<Tenant | "new" | null>(null);
  return (
    <ManagedList
      title="Tenants"
      lead="Whose hosts and backups these are. One tenant's people never see another's things."
      add={may.isInstallation ? "Add a tenant" : undefined}
      onAdd={() => setEditing("new")}
      from={tenants}
      columns={[
        { head: "Tenant", isName: true, by: (tenant) => tenant.name, cell: (tenant) => tenant.name },
        { head: "Time zone", cell: (tenant) => tenant.time_zone },
        { head: "Hosts", isNumber: true, cell: (tenant) => tenant.host_count ?? 0 },
        { head: "VMs", isNumber: true, cell: (tenant) => tenant.vm_count ?? 0 },
        { head: "Since", cell: (tenant) => <Time at={tenant.created_at} /> },
      ]}
      change={(tenant) => (
        <button type="button" className="small" aria-label={`Edit ${tenant.name}`} onClick={() => setEditing(tenant)}>
          Edit
        </button>
      )}
    >
      {editing && <TenantDialog tenant={editing === "new" ? null : editing} onClose={() => setEditing(null)} />}
    </ManagedList>
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
        <DialogFooter onClose={onClose} disabled={sending.isBusy} action="Save" />
      </form>
    </Dialog>
  );
}
