import { fmtNumber } from "../i18n";
import type { Status } from "../model";
import { noFilter } from "../state";
import { useSelect, useUi } from "./context";
import { Icon } from "./icons";

const statuses: Status[] = ["PENDING", "READY", "FAILED"];

export function Toolbar() {
    const { app, lang } = useUi();
    const { t } = app;
    const filter = useSelect((s) => s.filter);
    const folders = useSelect((s) => s.folders);
    const pending = useSelect((s) => s.order.reduce((n, id) => n + (s.items[id]?.status === "PENDING" ? 1 : 0), 0));
    const found = useSelect((s) => (s.loaded ? `${fmtNumber(lang, s.order.length)}${s.next ? "+" : ""}` : "")); // "20+": there are more pages
    const listed = folders?.reduce((n, f) => n + f.count, 0);
    const total = useSelect((s) => s.foldersCut) && listed !== undefined ? `${fmtNumber(lang, listed)}+` : listed;
    const known = folders?.some((f) => f.folder === filter.folder) ?? false;
    const filtered = filter.folder !== "" || filter.status !== "" || filter.search !== "";
    return (
        <div class="toolbar">
            <h1 id="library" tabIndex={-1}>
                {t("lib.title")}
                {total !== undefined && (
                    <small data-testid="lib-count">
                        {!filtered ? t("lib.count", { n: total }) : found && t("lib.found", { n: found, total })}
                    </small>
                )}
                {pending > 0 && <small class="pending">{t("lib.pending", { n: pending })}</small>}
            </h1>
            <div class="filters">
                {filtered && (
                    <button type="button" class="btn btn-quiet btn-small" data-testid="filter-clear" onClick={() => app.filter(noFilter)}>
                        <Icon name="close" />
                        {t("filter.clear")}
                    </button>
                )}
                <span class="select">
                    <select data-testid="filter-folder" aria-label={t("folder")} value={filter.folder} onChange={(e) => app.filter({ folder: e.currentTarget.value })}>
                        <option value="">{t("filter.allFolders")}</option>
                        {filter.folder && !known && <option value={filter.folder}>{filter.folder}</option>}
                        {folders?.map((f) => (
                            <option key={f.folder} value={f.folder}>
                                {`${f.folder} (${fmtNumber(lang, f.count)})`}
                            </option>
                        ))}
                    </select>
                    <Icon name="down" />
                </span>
                <span class="select">
                    <select data-testid="filter-status" aria-label={t("filter.status")} value={filter.status} onChange={(e) => app.filter({ status: e.currentTarget.value as "" | Status })}>
                        <option value="">{t("filter.allStatus")}</option>
                        {statuses.map((status) => (
                            <option key={status} value={status}>
                                {t(`status.${status}`)}
                            </option>
                        ))}
                    </select>
                    <Icon name="down" />
                </span>
            </div>
        </div>
    );
}
