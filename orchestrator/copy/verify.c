/* The proof; see verify.h. It is a comparison with the leaves whose result must be
 * "all the same", so that plan and move do the work. */
#include "copy/verify.h"

#include "copy/durable.h"
#include "copy/plan.h"
#include "digest.h"

static struct plan *make_plan(const struct verify_config *config, struct error **err)
{
    const struct end *disk = config->disk;
    struct plan_config plan = {
        .size = config->size,
        .request_size = config->move.request_size,
        .zero_size = UINT64_C(1) << 30,
        .read_align = DIGEST_BLOCK,
        .write_align = 1,
        .status_align = disk->block_min,
        .has_allocation = disk->has_extents[EXTENTS_ALLOCATION],
        .changes = config->ranges,
    };

    return plan_new(&plan, err);
}

static int compare(const struct verify_config *config, struct end *nowhere, struct durable *nothing,
                   uint64_t *bytes, struct error **err)
{
    struct move_config move = config->move;
    struct move_stats stats = { 0 };
    int r;

    move.src = config->disk;
    move.dst = nowhere;
    move.plan = *config->plan;
    move.durable = nothing;
    move.make_leaves = true;
    move.expected_leaves_fd = config->leaves_fd;
    move.differences_fail = true;
    r = move_run(&move, &stats, err);
    *bytes = stats.same;
    return r;
}

int verify_disk(const struct verify_config *config, uint64_t *bytes, struct error **err)
{
    struct end_wants wants = { .role = END_DESTINATION };
    struct durable_config durable_config = { .leaves_fd = -1,
                                             .flush_bytes = UINT64_C(1) << 30,
                                             .flush_ns = INT64_MAX };
    struct end *nowhere = end_open("null:", &wants, err);
    struct durable *nothing = nowhere ? durable_new(&durable_config, err) : NULL;
    int r = -1;

    if (nothing)
        *config->plan = make_plan(config, err);
    if (nothing && *config->plan)
        r = compare(config, nowhere, nothing, bytes, err);
    plan_free(*config->plan);
    *config->plan = NULL;
    durable_free(nothing);
    end_close(nowhere);
    return r;
}
