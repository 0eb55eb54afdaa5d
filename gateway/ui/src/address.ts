// What is filtered stands in the address, so it survives a reload, can be sent to somebody, and goes back with the browser's button. The view and what
// is open over it stand in the hash; the names of both lists differ, so each keeps its own while the other is shown.
import { clipBytes, folderValid, SEARCH_MAX, type Filter } from "./model";
import { jobStatuses, lanes, type JobFilter } from "./queues";

const statuses: readonly Filter["status"][] = ["PENDING", "READY", "FAILED"];
const states: readonly JobFilter["status"][] = ["unfinished", ...jobStatuses];
const SERVICE = /^[a-z0-9-]{1,64}$/;

export interface Filters {
    media: Filter;
    jobs: JobFilter;
}

/** What is no filter at all is as if it was not there: an address may be old or typed by hand. */
export function readFilters(query: string): Filters {
    const params = new URLSearchParams(query);
    const get = (name: string) => params.get(name) ?? "";
    const one = <T extends string>(name: string, of: readonly T[]): T | "" => of.find((v) => v === get(name)) ?? "";
    return {
        media: { folder: folderValid(get("folder")) ? get("folder") : "", status: one("status", statuses), search: clipBytes(get("search").trim(), SEARCH_MAX) },
        jobs: { service: SERVICE.test(get("service")) ? get("service") : "", status: one("state", states), lane: one("lane", lanes) },
    };
}

/** The query with these filters, "" or "?…"; what else stands in it is kept. */
export function writeFilters(query: string, { media, jobs }: Filters): string {
    const params = new URLSearchParams(query);
    const named = { folder: media.folder, status: media.status, search: media.search, service: jobs.service, state: jobs.status, lane: jobs.lane };
    for (const [name, value] of Object.entries(named)) {
        if (value) params.set(name, value);
        else params.delete(name);
    }
    const text = params.toString().replaceAll("%2F", "/"); // allowed in a query, and folders have them
    return text && `?${text}`;
}

export const sameFilter = <T extends object>(a: T, b: T): boolean => (Object.keys(a) as (keyof T)[]).every((key) => a[key] === b[key]);
