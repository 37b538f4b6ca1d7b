// Who is signed in, which tenant they look at, and what they may do.

import { createContext, useContext } from "react";
import type { Role, Session } from "./api";

const HINT = "e3.signed-in";
const TENANT = "e3.tenant";

// Whether somebody signed in here before: without it, nothing is asked that would only be refused.
export const wasSignedIn = () => read(HINT) === "yes";
export const rememberSignedIn = (isIn: boolean) => write(HINT, isIn ? "yes" : "");
export const chosenTenant = () => read(TENANT) ?? "";
export const chooseTenant = (id: string) => write(TENANT, id);

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string) {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    // Without storage, it is asked again next time.
  }
}

export interface SignedIn {
  session: Session;
  tenantId: string;
  setTenant: (id: string) => void;
  renew: () => Promise<void>;
  signOut: () => Promise<void>;
}

export const Who = createContext<SignedIn | null>(null);

export function useWho(): SignedIn {
  const who = useContext(Who);
  if (!who) throw new Error("nobody is signed in");
  return who;
}

// The tenant whose things people of the installation see alone: the one that they chose, or the only one; else "".
export function useTenantInSight(): string {
  const { session, tenantId } = useWho();
  return tenantId || (session.tenants.length === 1 ? session.tenants[0].id : "");
}

// By whose clock a tenant's schedules go, where they say no other.
export function useZoneOf(tenantId: string): string | undefined {
  const { session } = useWho();
  return session.tenants.find((tenant) => tenant.id === tenantId)?.time_zone;
}

const RANKS: Record<Role, number> = { viewer: 0, operator: 1, owner: 2 };

export function useMay() {
  const { session } = useWho();
  const rank = RANKS[session.user.role];
  return {
    operate: rank >= RANKS.operator,
    own: rank >= RANKS.owner,
    isInstallation: rank >= RANKS.owner && session.user.tenant_id === null,
  };
}
