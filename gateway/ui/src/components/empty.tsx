import { useUi } from "./context";
import { CopyButton } from "./copy";

const ridge = (x: number) => 112 - 15 * Math.sin(x / 72 + 0.4) - x / 40;
const slope = (x: number) => (Math.atan(ridge(x + 1) - ridge(x)) * 180) / Math.PI;
const dune = (lift: number) => `M0 180${Array.from({ length: 57 }, (_, i) => `L${i * 10} ${(ridge(i * 10) - lift).toFixed(1)}`).join("")}V180z`;
const far = `M0 180${Array.from({ length: 29 }, (_, i) => `L${i * 20} ${(88 - 16 * Math.sin(i / 4.1 + 2.6)).toFixed(1)}`).join("")}V180z`;

/** Four loads crossing a dune under the star: the empty library. */
function Caravan() {
    return (
        <svg class="caravan" viewBox="0 0 560 170" aria-hidden="true">
            <circle class="star" cx="452" cy="28" r="3.5" />
            <path class="star-ray" d="M452 15v26M439 28h26" />
            <path class="dune dune-far" d={far} />
            <path class="dune" d={dune(0)} />
            {[118, 214, 310, 406].map((x, i) => (
                <g key={x} transform={`translate(${x} ${ridge(x)}) rotate(${slope(x)}) translate(0 -25)`}>
                    <rect class="load" x="-23" y="-18" width="46" height="36" rx="6" />
                    <path class="load-art" d={loads[i % 3]!} />
                    <circle class="load-foot" cx="-12" cy="22" r="3" />
                    <circle class="load-foot" cx="12" cy="22" r="3" />
                </g>
            ))}
        </svg>
    );
}

const loads = [
    "m-15 10 9-10 7 7 5-5 9 8M8-7a2 2 0 1 1-4 0 2 2 0 0 1 4 0Z",
    "M-11-6h22M-11 0h22M-11 6h13",
    "M-4-8V8L9 0z",
];

export function Empty() {
    const { app } = useUi();
    const { t } = app;
    const curl = `curl -F folder=genel -F file=@foto.jpg ${location.origin}/api/media`;
    return (
        <section class="empty" data-testid="empty">
            <Caravan />
            <h2>{t("empty.title")}</h2>
            <p>{t("empty.text")}</p>
            <ol class="steps">
                <li>
                    <b>{t("empty.step1")}</b>
                    <span>{t("empty.step1Text")}</span>
                </li>
                <li>
                    <b>{t("empty.step2")}</b>
                    <span>{t("empty.step2Text")}</span>
                </li>
                <li>
                    <b>{t("empty.step3")}</b>
                    <span>{t("empty.step3Text")}</span>
                </li>
            </ol>
            <div class="curl">
                <span>{t("empty.curl")}</span>
                <code>{curl}</code>
                <CopyButton text={curl} label={t("copy")} />
            </div>
        </section>
    );
}
