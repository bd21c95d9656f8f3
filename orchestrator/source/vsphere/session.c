/* Logging in, out, and in again; see session.h. */
#include "source/vsphere/session.h"

#include <string.h>

#include "log/log.h"

#define NEWEST_VERSION "6.7" /* of the API: all that we call is in it */
#define CLOSE_S        10

/* What a later try may not meet again. */
static bool is_passing(const char *fault)
{
    static const char *const passing[] = { "HostCommunication", "HostNotConnected",
                                           "HostNotReachable",  "Timedout",
                                           "TaskInProgress",    "ResourceInUse",
                                           "ConcurrentAccess",  "RequestCanceled",
                                           "NotAuthenticated" };

    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++) {
        if (strcmp(fault, passing[i]) == 0)
            return true;
    }
    return false;
}

int session_fault(struct session *session, const char *name, const char *text, struct error **err)
{
    snprintf(session->fault, sizeof session->fault, "%s", name);
    return error_set_kind(err, is_passing(name) ? ERROR_PAUSED : ERROR_FAILED, "%s: %s", name,
                          text[0] ? text : "(no text)");
}

static const struct moref service_instance = { "ServiceInstance", "ServiceInstance" };

static bool version_is_unknown(const struct soap_answer *answer)
{
    return answer->fault[0] && strcasestr(answer->fault_text, "version") != NULL;
}

/* The version asked for is one that this server knows: its own, unless it is newer than
 * what we know. */
static void choose_version(struct session *session)
{
    unsigned major = 0, minor = 0;
    char version[24];

    if (sscanf(session->api_version, "%3u.%3u", &major, &minor) != 2)
        return;
    snprintf(version, sizeof version, "%u.%u", major, minor);
    if (major > 6 || (major == 6 && minor >= 7))
        snprintf(version, sizeof version, NEWEST_VERSION);
    soap_set_version(session->soap, version);
}

static int read_content(struct session *session, const xmlNode *content, struct error **err)
{
    const struct {
        const char *name;
        struct moref *moref;
        bool needed;
    } wanted[] = {
        { "rootFolder", &session->root, true },
        { "propertyCollector", &session->collector, true },
        { "sessionManager", &session->manager, true },
        { "searchIndex", &session->search, false },
        { "viewManager", &session->view_manager, false },
        { "authorizationManager", &session->authorization, false },
    };

    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (moref_read(xml_child(content, wanted[i].name), wanted[i].moref) < 0 && wanted[i].needed)
            return error_set(err, "it names no %s: is it a vCenter or an ESXi host?",
                             wanted[i].name);
    }
    session->is_vcenter = xml_text_is(content, "about/apiType", "VirtualCenter");
    xml_text(content, "about/fullName", session->about, sizeof session->about);
    xml_text(content, "about/apiVersion", session->api_version, sizeof session->api_version);
    xml_text(content, "about/build", session->build, sizeof session->build);
    return 0;
}

static int get_content(struct session *session, struct error **err)
{
    static const char arguments[] = "";
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };

    soap_set_version(session->soap, NEWEST_VERSION);
    if (soap_call(session->soap, &service_instance, "RetrieveServiceContent", arguments, true, 0,
                  &answer, err) < 0)
        return -1;
    if (version_is_unknown(&answer)) { /* a server that is older */
        soap_answer_free(&answer);
        soap_set_version(session->soap, "");
        if (soap_call(session->soap, &service_instance, "RetrieveServiceContent", arguments, true,
                      0, &answer, err) < 0)
            return -1;
    }
    if (answer.fault[0])
        session_fault(session, answer.fault, answer.fault_text, err);
    else if (read_content(session, xml_child(answer.body, "returnval"), err) == 0) {
        choose_version(session);
        return 0;
    }
    return error_prefix(err, "%s: RetrieveServiceContent", soap_url(session->soap));
}

/* What the server says about a refused login must not hold the password. */
static int refuse_login(struct session *session, const struct soap_answer *answer,
                        struct error **err)
{
    const char *password = session->credentials.password;
    bool echoed = password[0] && strstr(answer->fault_text, password);
    const char *text =
        echoed ? "(its text is kept back: the password is in it)" : answer->fault_text;

    session_fault(session, answer->fault, text, err);
    if (strcmp(answer->fault, "InvalidLogin") == 0)
        error_prefix(err, "the user name or the password is wrong");
    return error_prefix(err, "logging in to %s as \"%s\"", soap_url(session->soap),
                        session->credentials.user);
}

int session_login(struct session *session, struct error **err)
{
    CLEANUP_XML_WRITER struct xml_writer writer = { 0 };
    CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };

    /* With the cookie of a session that is logged in already, a login is refused. */
    soap_forget_cookie(session->soap);
    xml_element(&writer, "userName", session->credentials.user);
    xml_element(&writer, "password", session->credentials.password);
    if (xml_writer_check(&writer, "the user name or the password", err) < 0)
        return -1;
    session->logins++;
    /* Not repeated when the answer is lost: too many bad logins lock an account. */
    if (soap_call(session->soap, &session->manager, "Login", writer.text, false, 0, &answer, err) <
        0) {
        soap_forget_cookie(session->soap);
        return error_prefix(err, "logging in to %s", soap_url(session->soap));
    }
    if (answer.fault[0]) {
        soap_forget_cookie(session->soap); /* a failed login sets one, too */
        return refuse_login(session, &answer, err);
    }
    if (!soap_cookie(session->soap)[0])
        return error_set(err, "logging in to %s: it gives no session cookie",
                         soap_url(session->soap));
    log_write(session->logins > 1 ? LEVEL_INFO : LEVEL_DEBUG, "vsphere", "logged in to %s%s",
              soap_url(session->soap), session->logins > 1 ? " again" : "");
    return 0;
}

int session_open(const struct soap_settings *settings, const struct credentials *credentials,
                 struct session *session, struct error **err)
{
    *session = (struct session){ 0 };
    if (soap_open(settings, &session->soap, err) < 0)
        return -1;
    session->credentials = *credentials;
    if (get_content(session, err) == 0 && session_login(session, err) == 0)
        return 0;
    session_close(session);
    return -1;
}

void session_close(struct session *session)
{
    if (session->soap && soap_cookie(session->soap)[0]) {
        CLEANUP_SOAP_ANSWER struct soap_answer answer = { 0 };
        CLEANUP_ERROR struct error *ignored = NULL;

        soap_hurry(session->soap, CLOSE_S);
        soap_call(session->soap, &session->manager, "Logout", NULL, false, 0, &answer, &ignored);
    }
    soap_close(session->soap);
    explicit_bzero(session, sizeof *session);
}

bool session_ignore_cancel(struct session *session, bool ignore)
{
    return soap_ignore_cancel(session->soap, ignore);
}

/* `list`: names separated by blanks, or "*". */
static bool is_listed(const char *list, const char *name)
{
    size_t length = strlen(name);

    if (list && strcmp(list, "*") == 0)
        return true;
    while (list && *list) {
        size_t n = strcspn(list, " ");

        if (n == length && strncmp(list, name, n) == 0)
            return true;
        list += n + strspn(list + n, " ");
    }
    return false;
}

int session_call(struct session *session, const struct moref *self, const char *op,
                 const char *arguments, bool safe, unsigned wait_s, const char *expected,
                 struct soap_answer *answer, struct error **err)
{
    bool again = false;

    session->fault[0] = '\0';
    for (;;) {
        if (soap_call(session->soap, self, op, arguments, safe, wait_s, answer, err) < 0)
            return -1;
        if (!answer->fault[0] || is_listed(expected, answer->fault))
            return 0;
        if (again || strcmp(answer->fault, "NotAuthenticated") != 0) {
            session_fault(session, answer->fault, answer->fault_text, err);
            soap_answer_free(answer);
            return error_prefix(err, "%s", op);
        }
        /* It was refused before anything was done, so that any call may be sent again. */
        soap_answer_free(answer);
        again = true;
        if (session_login(session, err) < 0)
            return error_prefix(err, "%s: the session is lost", op);
    }
}
