// Which hosts can do what with a point.

import { all, ApiError, call, type Host, type Point, type Repository } from "./api";

// The hosts that can read and write the repository of a point: those of its tenant that may work, of a folder on a disk
// its host alone.
export const inReach = (hosts: Host[], point: Point, repository: Repository) =>
  hosts.filter((host) => host.tenant_id === point.tenant_id && !host.is_disabled && (!repository.host_id || host.id === repository.host_id));

// Who made a point knows best where it belongs; where that host cannot, one that answers.
export const firstChoice = (able: Host[], point: Point): Host | undefined =>
  able.find((host) => host.id === point.host_id) ?? able.find((host) => host.is_online) ?? able[0];

// Whether a host has an agent from before 2.0.0, as the server tells it: a pre-release is older than its release, and
// what tells no version is older than all.
export function isOlderAgent({ agent_version }: Host): boolean {
  const version = /^v?(\d+)((?:\.\d+)*)(-[^+]*)?(?:\+.*)?$/i.exec(agent_version.trim());
  if (!version) return true;
  const [, major, minor, early] = version;
  return Number(major) < 2 || (Number(major) === 2 && Boolean(early) && /^(\.0+)*$/.test(minor));
}

// The host that is to set or take away the pins of a point: the one that made it if it answers, else one that does. Pins
// wait for no host where another can do it at once.
export async function pinningHost(point: Point): Promise<string> {
  const [hosts, repository] = await Promise.all([all<Host>("/hosts"), call<Repository>("GET", `/repositories/${point.repository_id}`)]);
  const able = inReach(hosts, point, repository).filter((host) => !isOlderAgent(host));
  const chosen = firstChoice(able.filter((host) => host.is_online), point) ?? firstChoice(able, point);
  if (!chosen) {
    throw new ApiError(0, "no_host", `No host that is enabled, reaches ${point.repository_name} and has an agent of 2.0 or newer can do it.`);
  }
  return chosen.id;
}
