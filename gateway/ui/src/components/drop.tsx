import { useEffect, useRef, useState } from "preact/hooks";
import { DROP_MAX, filesOfDrop, hasFiles, type Dropped } from "../files";
import { fmtBytes } from "../i18n";
import { DEFAULT_FOLDER, folderValid } from "../model";
import { readPref, savePref } from "../prefs";
import { useSelect, useUi } from "./context";
import { Icon } from "./icons";

const touch = matchMedia("(pointer: coarse)").matches;
const DRAG_OVER_MS = 600; // while something is dragged over a page, browsers say so each 350 ms ± 200

type Trouble = Omit<Dropped, "files">;

/** Where files come in: this strip, and through it the whole page (drop and paste). */
export function Dropzone() {
    const { app, lang } = useUi();
    const { t } = app;
    const [folder, setFolder] = useState(() => readPref("folder") ?? "");
    const limit = useSelect((s) => s.config?.max_upload_bytes);
    const off = useSelect((s) => s.config?.processing_enabled === false);
    const folders = useSelect((s) => s.folders);
    const valid = folderValid(folder);
    useEffect(() => {
        app.setFolder(folder);
        if (valid) savePref("folder", folder);
    }, [folder]);
    const [dropped, setDropped] = useState<Trouble | null>(null); // the last one
    const over = usePageDrop(valid, setDropped);
    const pick = (e: Event) => {
        const input = e.currentTarget as HTMLInputElement;
        app.addFiles([...(input.files ?? [])]);
        input.value = ""; // the same file may be chosen again
    };
    return (
        <section class="drop" id="drop" data-testid="dropzone" aria-label={t("drop.title")}>
            <div class="drop-text">
                <Icon name="upload" />
                <p>
                    <b>{t(touch ? "drop.touch" : "drop.title")}</b>
                    <span>
                        {!touch && <span class="drop-hint">{t("drop.hint")} </span>}
                        {limit ? t("drop.limit", { size: fmtBytes(lang, limit) }) : ""} {off ? `${t("foot.processingOff")}.` : ""}
                    </span>
                </p>
            </div>
            <div class="drop-tools">
                <label class="field">
                    <span>{t("folder")}</span>
                    <input
                        data-testid="upload-folder"
                        list="folders"
                        value={folder}
                        placeholder={DEFAULT_FOLDER}
                        maxLength={255}
                        autocomplete="off"
                        autocapitalize="none"
                        spellcheck={false}
                        aria-invalid={!valid}
                        aria-describedby={valid ? undefined : "folder-bad"}
                        onInput={(e) => setFolder(e.currentTarget.value.trim())}
                    />
                    <datalist id="folders">{folders?.map((f) => <option key={f.folder} value={f.folder} />)}</datalist>
                </label>
                <span class="pick">
                    <input id="file-input" class="offscreen" type="file" multiple data-testid="upload-input" disabled={!valid} onChange={pick} />
                    <label for="file-input" class="btn btn-primary">
                        <Icon name="upload" />
                        {t("drop.pick")}
                    </label>
                </span>
                {!valid && (
                    <span class="error-text" id="folder-bad" role="alert">
                        {t("folder.bad")}
                    </span>
                )}
                {dropped?.cut && (
                    <span class="error-text" role="alert">
                        {t("drop.cut", { n: DROP_MAX })}
                    </span>
                )}
                {dropped?.unread[0] && (
                    <span class="error-text" role="alert">
                        {t("drop.unread", { names: dropped.unread.slice(0, 9).join(", ") + (dropped.unread[9] ? ", …" : "") })}
                    </span>
                )}
            </div>
            {over && (
                <div class="drop-over" data-testid="drop-overlay">
                    <div>
                        <Icon name="upload" />
                        <b>{t("drop.now")}</b>
                        <span>{t("drop.into", { folder: folder || DEFAULT_FOLDER })}</span>
                    </div>
                </div>
            )}
        </section>
    );
}

/** Listens on the page for files dragged or pasted; true while something is being dragged over it. */
function usePageDrop(valid: boolean, onDrop: (trouble: Trouble) => void): boolean {
    const { app } = useUi();
    const [over, setOver] = useState(false);
    const ok = useRef(valid);
    ok.current = valid;
    useEffect(() => {
        let timer: ReturnType<typeof setTimeout>;
        const show = (yes: boolean) => {
            clearTimeout(timer);
            setOver(yes);
            if (yes) timer = setTimeout(() => show(false), DRAG_OVER_MS);
        };
        const on = (type: "dragover" | "drop", fn: (e: DragEvent) => void) => {
            const listen = (e: DragEvent) => hasFiles(e.dataTransfer) && fn(e);
            addEventListener(type, listen);
            return () => removeEventListener(type, listen);
        };
        const offs = [
            on("dragover", (e) => {
                e.preventDefault();
                e.dataTransfer!.dropEffect = ok.current ? "copy" : "none";
                show(true);
            }),
            on("drop", (e) => {
                e.preventDefault();
                show(false);
                if (ok.current)
                    void filesOfDrop(e.dataTransfer!).then(({ files, ...trouble }) => {
                        onDrop(trouble);
                        app.addFiles(files);
                    });
            }),
        ];
        const paste = (e: ClipboardEvent) => {
            const data = e.clipboardData;
            if (!ok.current || !data?.files.length) return;
            if ((e.target as Element).matches("input:not([type=file])") && data.types.includes("text/plain")) return; // its picture is not what is meant
            if (app.pasteFiles(data)) e.preventDefault();
        };
        addEventListener("paste", paste);
        return () => {
            offs.forEach((off) => off());
            removeEventListener("paste", paste);
        };
    }, []);
    return over;
}
