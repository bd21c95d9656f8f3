/* Messages of a conversion; see message.h. */
#include "convert/message.h"

#include <json.h>
#include <string.h>

static void add_text(json_object *json, const char *name, const char *text)
{
    json_object_object_add(json, name, json_object_new_string(text ? text : ""));
}

static const char *get_text(json_object *json, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(json, name, &value) ? json_object_get_string(value) : "";
}

static bool get_bool(json_object *json, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(json, name, &value) && json_object_get_boolean(value);
}

/* Puts `json`. */
static int send(FILE *out, json_object *json)
{
    int r = fprintf(out, "%s\n", json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));

    json_object_put(json);
    return r < 0 || fflush(out) == EOF ? -1 : 0;
}

int message_send_request(FILE *out, const struct convert_request *request, struct error **err)
{
    json_object *json = json_object_new_object();
    json_object *disks = json_object_new_array();

    for (size_t i = 0; i < request->disk_count; i++) {
        json_object *disk = json_object_new_object();

        add_text(disk, "path", request->disks[i].path);
        add_text(disk, "format", request->disks[i].format);
        json_object_array_add(disks, disk);
    }
    json_object_object_add(json, "disks", disks);
    add_text(json, "name", request->name);
    add_text(json, "engine", request->engine);
    add_text(json, "bus", request->bus);
    add_text(json, "virt_type", request->virt_type);
    add_text(json, "virtio_win", request->virtio_win);
    add_text(json, "virt_tools", request->virt_tools);
    add_text(json, "directory", request->directory);
    add_text(json, "log", request->log);
    json_object_object_add(json, "uefi", json_object_new_boolean(request->uefi));
    json_object_object_add(json, "only_look", json_object_new_boolean(request->only_look));
    if (send(out, json) < 0)
        return error_set_errno(err, errno, "telling the conversion's worker");
    return 0;
}

static int read_disks(struct convert_order *order, struct error **err)
{
    json_object *disks;

    if (!json_object_object_get_ex(order->json, "disks", &disks) ||
        !json_object_is_type(disks, json_type_array))
        return error_set(err, "the request has no disks");
    order->request.disk_count = json_object_array_length(disks);
    order->disks = calloc(order->request.disk_count + 1, sizeof *order->disks);
    if (!order->disks)
        return error_set_errno(err, ENOMEM, "reading the request");
    for (size_t i = 0; i < order->request.disk_count; i++) {
        json_object *disk = json_object_array_get_idx(disks, i);

        snprintf(order->disks[i].path, PATH_MAX, "%s", get_text(disk, "path"));
        snprintf(order->disks[i].format, sizeof order->disks[i].format, "%s",
                 get_text(disk, "format"));
    }
    order->request.disks = order->disks;
    return 0;
}

int message_read_request(FILE *in, struct convert_order *order, struct error **err)
{
    CLEANUP_FREE char *line = NULL;
    size_t size = 0;

    *order = (struct convert_order){ 0 };
    if (getline(&line, &size, in) < 0)
        return error_set(err, "the conversion's worker got no request");
    order->json = json_tokener_parse(line);
    if (!order->json || !json_object_is_type(order->json, json_type_object))
        return error_set(err, "the conversion's worker got no request that is JSON");
    order->request = (struct convert_request){
        .name = get_text(order->json, "name"),
        .engine = get_text(order->json, "engine"),
        .bus = get_text(order->json, "bus"),
        .uefi = get_bool(order->json, "uefi"),
        .virt_type = get_text(order->json, "virt_type"),
        .virtio_win = get_text(order->json, "virtio_win"),
        .virt_tools = get_text(order->json, "virt_tools"),
        .directory = get_text(order->json, "directory"),
        .log = get_text(order->json, "log"),
        .only_look = get_bool(order->json, "only_look"),
    };
    return read_disks(order, err);
}

void message_free_order(struct convert_order *order)
{
    json_object_put(order->json);
    free(order->disks);
}

void message_send_line(FILE *out, const char *line)
{
    json_object *json = json_object_new_object();

    add_text(json, "say", line);
    send(out, json);
}

void message_send_result(FILE *out, const struct convert_result *result)
{
    json_object *json = json_object_new_object();

    json_object_object_add(json, "needed", json_object_new_boolean(result->needed));
    add_text(json, "why", result->why);
    add_text(json, "os", result->os);
    add_text(json, "engine", result->engine);
    send(out, json);
}

void message_send_error(FILE *out, const struct error *error)
{
    json_object *json = json_object_new_object();

    add_text(json, "error", error_message(error));
    json_object_object_add(json, "usage",
                           json_object_new_boolean(error && error->kind == ERROR_USAGE));
    send(out, json);
}

static enum message parse_object(json_object *json, char text[CONVERT_TEXT],
                                 struct convert_result *result, struct error **err)
{
    if (*get_text(json, "say")) {
        snprintf(text, CONVERT_TEXT, "%s", get_text(json, "say"));
        return MESSAGE_LINE;
    }
    if (*get_text(json, "error")) {
        error_set_kind(err, get_bool(json, "usage") ? ERROR_USAGE : ERROR_FAILED, "%s",
                       get_text(json, "error"));
        return MESSAGE_ERROR;
    }
    if (!*get_text(json, "engine"))
        return MESSAGE_NONSENSE;
    result->needed = get_bool(json, "needed");
    snprintf(result->why, sizeof result->why, "%s", get_text(json, "why"));
    snprintf(result->os, sizeof result->os, "%s", get_text(json, "os"));
    snprintf(result->engine, sizeof result->engine, "%s", get_text(json, "engine"));
    return MESSAGE_RESULT;
}

enum message message_parse(const char *line, char text[CONVERT_TEXT], struct convert_result *result,
                           struct error **err)
{
    json_object *json = json_tokener_parse(line);
    enum message message = MESSAGE_NONSENSE;

    if (json_object_is_type(json, json_type_object))
        message = parse_object(json, text, result, err);
    json_object_put(json);
    return message;
}
