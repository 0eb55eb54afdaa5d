/* Errors: one table from which the enum, the HTTP status, the stable code and the texts come.
 *
 * A row is E(NAME, number, http, "slug", "English sentence", "Turkish sentence"). Numbers are
 * stable and travel on the wire (message ERROR); groups leave gaps. The sentence says what happened
 * and what to do. Bugs assert; everything a peer, a disk or a user can cause is one of these. */
#ifndef KV_BASE_ERROR_H
#define KV_BASE_ERROR_H

#include <stdint.h>

#include "proto/base/slice.h"

/* clang-format off */
#define KV_ERRORS(E) \
    /* nothing wrong */ \
    E(NONE, 0, 200, "none", "No error.", "Hata yok.") \
    /* 1..: the request */ \
    E(BAD_REQUEST, 1, 400, "bad_request", "The request is malformed. Check it against the API description.", "İstek biçimi bozuk. API tanımıyla karşılaştırın.") \
    E(BAD_HEAD, 2, 400, "bad_head", "The HTTP head is malformed or ambiguous and was refused.", "HTTP başlığı bozuk ya da belirsiz; kabul edilmedi.") \
    E(HEAD_TOO_LARGE, 3, 431, "head_too_large", "The HTTP head is larger than 32 KiB. Send fewer or shorter headers.", "HTTP başlığı 32 KiB sınırını aşıyor. Daha az ya da daha kısa başlık gönderin.") \
    E(BAD_CHUNKED, 4, 400, "bad_chunked", "The chunked body is malformed.", "Parçalı (chunked) gövde bozuk.") \
    E(BAD_MULTIPART, 5, 400, "bad_multipart", "The multipart body is malformed. Let a library build it, or send the raw body.", "multipart gövdesi bozuk. Bir kütüphaneyle oluşturun ya da ham gövde gönderin.") \
    E(MISSING_FILE, 6, 400, "missing_file", "There is no part named \"file\". Send the file in a multipart field named \"file\" or as the raw body.", "\"file\" adlı bölüm yok. Dosyayı \"file\" alanında ya da ham gövde olarak gönderin.") \
    E(TWO_FILES, 7, 400, "two_files", "Send one file a request.", "Her istekte tek dosya gönderin.") \
    E(EMPTY_FILE, 8, 400, "empty_file", "The file is empty. Choose another one.", "Dosya boş. Başka bir dosya seçin.") \
    E(BAD_FILENAME, 9, 400, "bad_filename", "The file name is missing, too long or holds characters that are not allowed.", "Dosya adı eksik, çok uzun ya da izin verilmeyen karakterler içeriyor.") \
    E(BAD_FOLDER, 10, 400, "bad_folder", "A folder is 1 to 4 names of [a-z0-9_-] joined by \"/\", for example \"haber/2026\".", "Klasör, \"/\" ile ayrılmış 1-4 addan oluşur ([a-z0-9_-]), örneğin \"haber/2026\".") \
    E(LENGTH_MISMATCH, 11, 400, "length_mismatch", "The body ended before the announced length.", "Gövde bildirilen uzunluktan önce bitti.") \
    E(BAD_ID, 12, 400, "bad_id", "The id is not a valid kervan id.", "Kimlik geçerli bir kervan kimliği değil.") \
    E(BAD_PARAMETER, 13, 400, "bad_parameter", "A parameter is out of its range.", "Bir parametre izin verilen aralığın dışında.") \
    E(NOT_FOUND, 14, 404, "not_found", "There is nothing here.", "Burada bir şey yok.") \
    E(METHOD_NOT_ALLOWED, 15, 405, "method_not_allowed", "This method is not allowed here.", "Bu yöntem burada kullanılamaz.") \
    E(TIMEOUT_CLIENT, 16, 408, "request_timeout", "The client sent too slowly. Try again on a better connection.", "İstemci çok yavaş gönderdi. Daha iyi bir bağlantıyla tekrar deneyin.") \
    E(TOO_LARGE, 17, 413, "too_large", "The file is too large. Send a smaller one, or raise MAX_UPLOAD_SIZE_MB.", "Dosya çok büyük. Daha küçüğünü gönderin ya da MAX_UPLOAD_SIZE_MB ayarını yükseltin.") \
    E(CLIENT_GONE, 18, 499, "client_gone", "The client closed the connection before the end.", "İstemci bağlantıyı bitmeden kapattı.") \
    E(RANGE, 19, 416, "range_not_satisfiable", "The range lies outside the file.", "İstenen aralık dosyanın dışında.") \
    E(UPGRADE_REQUIRED, 20, 426, "upgrade_required", "This address speaks WebSocket only.", "Bu adres yalnızca WebSocket konuşur.") \
    E(FORBIDDEN_ORIGIN, 21, 403, "Forbidden", "This origin may not connect.", "Bu kaynak (origin) bağlanamaz.") \
    E(RATE_LIMIT, 22, 429, "Rate limit", "Too many requests. Wait as long as Retry-After says.", "Çok fazla istek. Retry-After süresi kadar bekleyin.") \
    E(CONFLICT, 23, 409, "conflict", "The state of the item does not allow this.", "Öğenin durumu buna izin vermiyor.") \
    E(EXPECTATION, 24, 417, "expectation_failed", "Only \"Expect: 100-continue\" is understood.", "Yalnızca \"Expect: 100-continue\" desteklenir.") \
    E(BAD_RANGE_HEADER, 25, 400, "bad_range", "The Range header is malformed.", "Range başlığı bozuk.") \
    E(NO_CREDIT, 26, 402, "no_credit", "The account has not enough credits. Nothing was queued or charged.", "Hesapta yeterli kredi yok. Hiçbir şey kuyruğa alınmadı, ücret alınmadı.") \
    E(QUEUE_FULL, 27, 429, "queue_full", "The queue is full. Try again as Retry-After says.", "Kuyruk dolu. Retry-After süresi sonunda tekrar deneyin.") \
    E(QUEUE_DRAINING, 28, 503, "queue_draining", "The queue takes no new jobs now; an operator is draining it.", "Kuyruk şu anda yeni iş almıyor; bir yönetici boşaltıyor.") \
    E(FORBIDDEN, 29, 403, "Forbidden", "Only the machine itself may do this. Use kervan ctl there, or ask 127.0.0.1 directly, not through a proxy.", "Bunu yalnızca makinenin kendisi yapabilir. Orada kervan ctl kullanın ya da vekil sunucudan değil, doğrudan 127.0.0.1 adresinden sorun.") \
    E(BODY_TOO_LARGE, 30, 413, "body_too_large", "The data of this request is larger than its limit. Keep larger things as files and send their address.", "Bu isteğin verisi sınırından büyük. Büyük verileri dosya olarak saklayıp adresini gönderin.") \
    E(PRECONDITION, 31, 412, "precondition_failed", "What is here is not what If-Match or If-Unmodified-Since asks for. Fetch it anew, without them.", "Buradaki dosya If-Match ya da If-Unmodified-Since ile istenen değil. Bu başlıklar olmadan yeniden alın.") \
    E(PIECE, 32, 400, "piece", "This is a piece of a file (Content-Range, or a widget's count of chunks), and a file comes in one request. Switch chunking off and send the whole of it.", "Bu, bir dosyanın parçası (Content-Range ya da yükleme eklentisinin parça sayısı); oysa dosya tek istekte gelir. Parçalamayı kapatıp dosyanın tamamını gönderin.") \
    /* 40..: the content */ \
    E(TYPE_REFUSED, 40, 422, "type_refused", "This type of file is not accepted (ALLOWED_MIME_TYPES).", "Bu dosya türü kabul edilmiyor (ALLOWED_MIME_TYPES).") \
    E(TYPE_MISMATCH, 41, 422, "type_mismatch", "The content does not match its extension or declared type. Give the file the extension of what it is.", "İçerik, uzantısı ya da bildirilen türüyle uyuşmuyor. Dosyaya içeriğine uygun uzantıyı verin.") \
    E(TYPE_NOT_YET, 42, 422, "type_not_yet", "TIFF and SVG are not accepted yet.", "TIFF ve SVG henüz kabul edilmiyor.") \
    E(BAD_IMAGE, 43, 422, "bad_image", "The picture is damaged.", "Görsel bozuk.") \
    E(IMAGE_TOO_BIG, 44, 422, "image_too_big", "The picture has more pixels than IMAGE_MAX_MEGAPIXELS allows.", "Görsel, IMAGE_MAX_MEGAPIXELS sınırından fazla piksel içeriyor.") \
    E(IMAGE_LIMIT, 45, 422, "image_limit", "Processing the picture went over its memory, time or size limit.", "Görselin işlenmesi bellek, süre ya da boyut sınırını aştı.") \
    E(IMAGE_CRASH, 46, 422, "image_crash", "The image library crashed on this picture.", "Görsel kütüphanesi bu görselde çöktü.") \
    E(VIRUS, 47, 422, "virus", "The file was refused by the virus scan.", "Dosya virüs taramasında reddedildi.") \
    /* 60..: the machine */ \
    E(DISK_FULL, 60, 507, "disk_full", "The disk is full. Nothing was kept; free some space and try again.", "Disk dolu. Hiçbir şey saklanmadı; yer açıp tekrar deneyin.") \
    E(IO, 61, 500, "io", "Reading or writing failed. The log says more.", "Okuma ya da yazma başarısız. Ayrıntı günlükte.") \
    E(NO_MEMORY, 62, 503, "no_memory", "Out of memory or of file descriptors. Try again later.", "Bellek ya da dosya tanıtıcısı yetmedi. Daha sonra tekrar deneyin.") \
    E(BUSY, 63, 503, "busy", "The server is busy. Try again as Retry-After says.", "Sunucu meşgul. Retry-After süresi sonunda tekrar deneyin.") \
    E(BROKER_AWAY, 64, 503, "broker_away", "The broker does not answer. Try again in a few seconds.", "Aracı (broker) yanıt vermiyor. Birkaç saniye sonra tekrar deneyin.") \
    E(DRAINING, 65, 503, "draining", "The server is going down for a restart. Try again in a few seconds.", "Sunucu yeniden başlıyor. Birkaç saniye sonra tekrar deneyin.") \
    E(INTERNAL, 66, 500, "internal", "An unknown error happened. Please try again.", "Bilinmeyen bir hata oluştu. Lütfen tekrar deneyin.") \
    E(STUCK, 67, 500, "stuck", "The job made no progress and was ended (Stuck Job Guard). Please try again.", "İşlem zaman aşımına uğradı (Stuck Job Guard). Lütfen tekrar deneyin.") \
    E(TIMEOUT, 68, 504, "job_timeout", "The operation timed out. Please try again.", "İşlem zaman aşımına uğradı. Lütfen tekrar deneyin.") \
    E(EXHAUSTED, 69, 500, "attempts_exhausted", "All attempts failed.", "Tüm denemeler başarısız oldu.") \
    E(EVICTED, 70, 503, "evicted", "The queue was full and this job was the oldest of its lowest lane, so it made room. Please try again.", "Kuyruk dolduğu için bu iş yerini yenisine bıraktı. Lütfen tekrar deneyin.") \
    E(JOB_DEADLINE, 71, 504, "job_deadline", "The job was not begun before its deadline.", "İşlem, son başlama zamanından önce başlatılamadı.") \
    /* 80..: messages and the ledger */ \
    E(BAD_MESSAGE, 80, 400, "bad_message", "The message does not follow PROTOCOL.md.", "İleti PROTOCOL.md'ye uymuyor.") \
    E(BAD_VERSION, 81, 400, "bad_version", "This protocol version is not spoken here.", "Bu protokol sürümü desteklenmiyor.") \
    E(UNKNOWN_CODE, 82, 400, "unknown_code", "This message is not handled here.", "Bu ileti burada işlenmiyor.") \
    E(EXPIRED, 83, 504, "expired", "The deadline of the message has passed.", "İletinin süresi doldu.") \
    E(STALE_LEASE, 84, 409, "stale_lease", "The lease is no longer held; the answer was refused.", "Kira artık geçerli değil; yanıt reddedildi.") \
    E(RELINK, 85, 409, "relink", "The blob was removed meanwhile; place it again and commit again.", "Dosya bu arada silindi; yeniden yerleştirip yeniden kaydedin.") \
    E(DYING, 86, 409, "dying", "The blob is being removed; commit again shortly.", "Dosya siliniyor; biraz sonra yeniden kaydedin.") \
    E(SCHEMA_NEWER, 87, 500, "schema_newer", "The database was written by a newer kervan. Start that version or restore a backup.", "Veritabanı daha yeni bir kervan sürümüyle yazılmış. O sürümü başlatın ya da yedeği geri yükleyin.") \
    E(DB, 88, 500, "db", "The database refused a statement. The log says more.", "Veritabanı bir komutu reddetti. Ayrıntı günlükte.") \
    E(CONFIG, 89, 500, "config", "The configuration is not valid.", "Yapılandırma geçerli değil.") \
    E(LOCKED, 90, 500, "locked", "Another kervan uses this data folder.", "Bu veri klasörünü başka bir kervan kullanıyor.") \
    E(UNSUPPORTED, 91, 501, "unsupported", "This version does not have that yet.", "Bu sürümde henüz yok.") \
    E(DB_MISSING, 92, 500, "database_missing", "There are media but no database. Put kervan.db back, from the backup if it is lost; to begin anew, move the media folder away.", "Dosyalar var ama veritabanı yok. kervan.db dosyasını yerine koyun, kaybolduysa yedekten; yeniden başlamak için media klasörünü başka yere taşıyın.") \
    E(DB_DAMAGED, 93, 500, "database_damaged", "The database is damaged. Stop kervan, keep a copy of kervan.db and kervan.db-wal, and put the last backup in their place; the manual says what else can be saved.", "Veritabanı hasarlı. kervan'ı durdurun, kervan.db ve kervan.db-wal dosyalarının kopyasını saklayıp yerlerine son yedeği koyun; başka nelerin kurtarılabileceği kılavuzda yazar.") \
    E(DB_OTHER, 94, 500, "database_other", "kervan.db is not kervan's, or the kervan.db-wal beside it is not its own. Put the right one there; after a restore, move the old kervan.db-wal away.", "kervan.db kervan'ın değil ya da yanındaki kervan.db-wal ona ait değil. Doğru dosyayı koyun; yedekten dönüldüyse eski kervan.db-wal dosyasını başka yere taşıyın.") \
    E(DB_MOVED, 95, 503, "database_moved", "kervan.db or its log was moved, replaced or removed under the running broker, so nothing more is taken. Put that same file back; to restore, stop all of kervan first.", "kervan.db ya da günlüğü, aracı çalışırken taşındı, değiştirildi ya da silindi; bu yüzden artık bir şey kabul edilmiyor. Aynı dosyayı yerine koyun; yedekten dönmek için önce kervan'ı tümüyle durdurun.") \
    E(MEDIA_MOVED, 96, 503, "media_moved", "The media folder was moved, replaced or removed under the running kervan, so no uploads are taken. Put that same folder back, or restart kervan for the one that is there.", "Medya klasörü kervan çalışırken taşındı, değiştirildi ya da silindi; bu yüzden yükleme kabul edilmiyor. Aynı klasörü yerine koyun ya da yerindekiyle çalışmak için kervan'ı yeniden başlatın.")
/* clang-format on */

typedef enum kv_err {
#define KV_ERR_ENUM(name, number, http, slug, en, tr) KV_E_##name = number,
    KV_ERRORS(KV_ERR_ENUM)
#undef KV_ERR_ENUM
} kv_err;

#define KV_OK KV_E_NONE

/* One row; never NULL: an unknown number gives the row of INTERNAL. Any thread. */
typedef struct kv_err_info {
    kv_err code;
    int http;         /* HTTP status */
    const char *name; /* "TOO_LARGE" */
    const char *slug; /* stable code in problem+json */
    const char *en, *tr;
} kv_err_info;
const kv_err_info *kv_err_info_of(kv_err code);
/* As another process names it; an unknown one is INTERNAL, of a code that several have it is the
 * first. */
kv_err kv_err_of_slug(kv_slice slug);

/* errno to kv_err: ENOSPC, EDQUOT and EFBIG are DISK_FULL, ENOMEM is NO_MEMORY, ENOENT NOT_FOUND,
 * the rest IO. */
kv_err kv_err_from_errno(int e);

/* Passes an error up: `KV_TRY(f(x));` inside a function that returns kv_err and has nothing to
 * clean up. */
#define KV_TRY(expr)                                                                               \
    do {                                                                                           \
        kv_err kv_try_ = (expr);                                                                   \
        if (kv_try_ != KV_OK)                                                                      \
            return kv_try_;                                                                        \
    } while (0)

#endif
