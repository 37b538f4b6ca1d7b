// Whose a new thing is to be.

import { type ReactNode, useState } from "react";
import { useTenantInSight, useWho } from "../session";
import { SelectField } from "./form";

interface TenantOfNew {
  // What the new thing must say about its tenant: nothing, for people who belong to one.
  tenant: { tenant_id?: string };
  // Asks, where nobody has said it yet: they look at all tenants, and there are several.
  field: ReactNode;
}

export function useTenantOfNew(): TenantOfNew {
  const { session } = useWho();
  const known = useTenantInSight();
  const [chosen, setChosen] = useState("");
  if (session.user.tenant_id !== null) return { tenant: {}, field: null };
  if (known) return { tenant: { tenant_id: known }, field: null };
  const options = [{ value: "", name: "Choose one" }, ...session.tenants.map(({ id, name }) => ({ value: id, name }))];
  return {
    tenant: chosen ? { tenant_id: chosen } : {},
    field: <SelectField label="Tenant" required value={chosen} onChange={setChosen} options={options} />,
  };
}
