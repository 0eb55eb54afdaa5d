import { fmtBytes, fmtNumber, fmtPercent } from "../i18n";
import { kindOf, savedPercent, type Media, type Variant } from "../model";
import { useUi } from "./context";
import { CopyButton } from "./copy";

const byFormatThenWidth = (a: Variant, b: Variant) => a.format.localeCompare(b.format) || a.width - b.width;

/** Every size that was made, what it saves, and its address. */
export function Variants({ media }: { media: Media }) {
    const { app, lang } = useUi();
    const { t } = app;
    if (kindOf(media.mime) !== "image") return null;
    const list = [...media.variants].sort(byFormatThenWidth);
    const smallest = list.reduce<Variant | null>((least, v) => (least && least.size <= v.size ? least : v), null);
    const saved = smallest ? savedPercent(media.size, smallest.size) : 0;
    return (
        <section class="variants">
            <h3>
                {t("detail.variants")} {list.length > 0 && <small>{fmtNumber(lang, list.length)}</small>}
            </h3>
            {list.length === 0 && <p class="quiet">{t(media.status === "PENDING" ? "detail.variantsLater" : "detail.noVariants")}</p>}
            {smallest && saved > 0 && <p class="quiet">{t("detail.best", { size: fmtBytes(lang, smallest.size), percent: fmtPercent(lang, saved) })}</p>}
            {list.length > 0 && (
                <table class="variants" data-testid="variants">
                    <thead>
                        <tr>
                            <th scope="col">{t("detail.format")}</th>
                            <th scope="col">{t("detail.dimensions")}</th>
                            <th scope="col">{t("detail.size")}</th>
                            <th scope="col">{t("detail.saved")}</th>
                            <th scope="col">
                                <span class="offscreen">{t("copy")}</span>
                            </th>
                        </tr>
                    </thead>
                    <tbody>
                        {list.map((v) => (
                            <Row key={v.url} variant={v} media={media} />
                        ))}
                    </tbody>
                </table>
            )}
        </section>
    );
}

function Row({ variant: v, media }: { variant: Variant; media: Media }) {
    const { app, lang } = useUi();
    const saved = savedPercent(media.size, v.size);
    const dimensions = `${v.width} × ${v.height}`;
    const name = `${v.format.toUpperCase()} ${dimensions}`;
    return (
        <tr data-testid="variant">
            <td>
                <a class={`format format-${v.format}`} href={v.url} target="_blank" rel="noopener">
                    {v.format.toUpperCase()}
                </a>
            </td>
            <td>{dimensions}</td>
            <td>{fmtBytes(lang, v.size)}</td>
            <td class="saved">
                <i aria-hidden="true" style={{ transform: `scaleX(${Math.max(0, Math.min(100, saved)) / 100})` }} />
                <span>{fmtPercent(lang, saved)}</span>
            </td>
            <td>
                <CopyButton text={new URL(v.url, location.href).href} label={app.t("copy.name", { name })} testid="copy-variant" class="btn-quiet" />
            </td>
        </tr>
    );
}
