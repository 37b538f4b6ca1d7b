// Managing: the frame of its screens, whom screens are for, and the list that most of them are.

import type { ReactNode } from "react";
import type { UseQueryResult } from "@tanstack/react-query";
import { usePath } from "../route";
import { useMay } from "../session";
import { Empty, Loaded, Page, Panel, Tabs } from "../ui/parts";
import { type Column, Table } from "../ui/table";

interface ForProps {
  title: string;
  children: ReactNode;
}

const NotFor = ({ title, whom }: { title: string; whom: string }) => (
  <Page title={title}>
    <Panel>
      <Empty title={`This is for ${whom}`}>Ask an owner of this tenant to do it, or to change your role.</Empty>
    </Panel>
  </Page>
);

// A screen of which the server would tell others nothing.
export const ForOwners = ({ title, children }: ForProps) => (useMay().own ? children : <NotFor title={title} whom="owners" />);

// A screen that ends with something which the server would refuse others.
export const ForOperators = ({ title, children }: ForProps) => (useMay().operate ? children : <NotFor title={title} whom="operators and owners" />);

export function Manage({ title, lead, actions, children }: { title: string; lead: string; actions?: ReactNode; children: ReactNode }) {
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

interface ManagedListProps<T> {
  title: string;
  lead: string;
  // What the button says that makes a new one; none for those who may not.
  add?: string;
  onAdd: () => void;
  // What the table is called, where that is not the title.
  label?: string;
  from: UseQueryResult<T[]>;
  columns: Column<T>[];
  // What may be done with one of them.
  change: (item: T) => ReactNode;
  empty?: ReactNode;
  // The dialog that is open.
  children: ReactNode;
}

export function ManagedList<T extends { id: string | number }>({ title, lead, add, onAdd, label = title, from, columns, change, empty, children }: ManagedListProps<T>) {
  return (
    <Manage
      title={title}
      lead={lead}
      actions={
        add && (
          <button type="button" className="primary" onClick={onAdd}>
            {add}
          </button>
        )
      }
    >
      <Panel className="flush">
        <Loaded from={from}>
          {(items) => (
            <Table label={label} rows={items} keyOf={(item) => item.id} empty={empty} columns={[...columns, { head: "Change", className: "end", cell: change }]} />
          )}
        </Loaded>
      </Panel>
      {children}
    </Manage>
  );
}
