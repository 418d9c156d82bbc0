/*
 * LoRA-FA (Zhang et al. 2023, arXiv 2308.03303) as PEFT's LoraFAOptimizer: A stays, the gradient of
 * B becomes grad (A A^T)^-1 / scale^2, then AdamW with the decay after the step. PEFT multiplies in
 * bfloat16 under autocast; here it is float. A does not change, so the inverse is made once and is
 * part of the state.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "trainer/optim/optim_internal.h"

enum { NAME = 1024, RANK_CAP = 1024, SWEEPS = 30 };

static const double LEAST_PIVOT = 1e-3; /* of the diagonal: below it Cholesky is not trusted */
static const char PART_A[] = "lora_A";
static const char PART_B[] = "lora_B";

static bool is_part(const struct param *p, const char *part)
{
    return strstr(p->name, part) != NULL;
}

/* The A that belongs to B number `b`, -1: none. */
static int64_t partner(const struct param_set *p, int64_t b)
{
    char name[NAME];
    const char *from = p->params[b].name;
    const int n = snprintf(name, sizeof name, "%s", from);
    if (n < 0 || n >= NAME) {
        return -1;
    }
    name[strstr(from, PART_B) - from + (ptrdiff_t)sizeof PART_A - 2] = 'A';
    return param_set_find(p, name);
}

static enum status check_pair(const struct param_set *p, int64_t b)
{
    const int64_t a = partner(p, b);
    const struct param *e = &p->params[b];
    if (a < 0 || e->dims != 2 || p->params[a].dims != 2 || p->params[a].shape[0] != e->shape[1]) {
        return FAIL(RECIPE, "optim: lora_fa: '%s' has no A beside it; use adamw_torch", e->name);
    }
    if (!(e->scale > 0)) {
        return FAIL(RECIPE, "optim: lora_fa: the scale of '%s' is not known; use adamw_torch",
                    e->name);
    }
    if (e->shape[1] > RANK_CAP) {
        return FAIL(RECIPE, "optim: lora_fa takes ranks up to %d; use adamw_torch", RANK_CAP);
    }
    return STATUS_OK;
}

/* Workspace: the changed gradient of the largest B, and two squares of the largest rank in double.
 */
enum status lora_fa_prepare(const struct optim_config *c, struct param_set *p, size_t *workspace)
{
    int64_t numbers = 0;
    int64_t rank = 0;
    (void)c;
    for (int64_t i = 0; i < p->count; i++) {
        struct param *e = &p->params[i];
        e->frozen = is_part(e, PART_A);
        if (is_part(e, PART_B)) {
            TRY(check_pair(p, i));
            numbers = e->count > numbers ? e->count : numbers;
            rank = e->shape[1] > rank ? e->shape[1] : rank;
        }
    }
    if (rank == 0 && p->count > 0) {
        return FAIL(RECIPE, "optim: lora_fa trains a LoRA adapter: use_peft: true");
    }
    *workspace = 2 * (size_t)(rank * rank) * sizeof(double) + (size_t)numbers * sizeof(float);
    return STATUS_OK;
}

void lora_fa_slots(const struct optim_config *c, const struct param *p,
                   struct param_slot slot[PARAM_SLOTS])
{
    (void)c;
    adamw_slots(p, slot);
    if (is_part(p, PART_B)) {
        optim_slot(&slot[4], "inverse", false, p->shape[1] * p->shape[1]);
    }
}

/* One Jacobi rotation of the symmetric m that zeroes m[i][j]; v collects the rotations. */
static void rotate(double *m, double *v, int64_t n, int64_t i, int64_t j)
{
    const double off = m[i * n + j];
    if (off == 0.0) {
        return;
    }
    const double theta = (m[j * n + j] - m[i * n + i]) / (2.0 * off);
    const double t = copysign(1.0, theta) / (fabs(theta) + sqrt(theta * theta + 1.0));
    const double cosine = 1.0 / sqrt(t * t + 1.0);
    const double sine = t * cosine;
    for (int64_t k = 0; k < n; k++) {
        const double x = m[k * n + i];
        const double y = m[k * n + j];
        m[k * n + i] = cosine * x - sine * y;
        m[k * n + j] = sine * x + cosine * y;
    }
    for (int64_t k = 0; k < n; k++) {
        const double x = m[i * n + k];
        const double y = m[j * n + k];
        m[i * n + k] = cosine * x - sine * y;
        m[j * n + k] = sine * x + cosine * y;
    }
    for (int64_t k = 0; k < n; k++) {
        const double x = v[k * n + i];
        const double y = v[k * n + j];
        v[k * n + i] = cosine * x - sine * y;
        v[k * n + j] = sine * x + cosine * y;
    }
}

static double off_diagonal(const double *m, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            sum += m[i * n + j] * m[i * n + j];
        }
    }
    return sum;
}

/* l = Cholesky factor of m [n, n]; false when m is near enough to singular that rank matters. */
static bool factorize(const double *m, double *l, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = m[i * n + j];
            for (int64_t k = 0; k < j; k++) {
                sum -= l[i * n + k] * l[j * n + k];
            }
            if (i == j && !(sum > LEAST_PIVOT * m[i * n + i])) {
                return false;
            }
            l[i * n + j] = i == j ? sqrt(sum) : sum / l[j * n + j];
        }
    }
    return true;
}

/* Lower triangle l becomes its inverse; out = l^T l, the inverse of what l was the factor of. */
static void invert_factor(double *l, int64_t n, float *out)
{
    for (int64_t j = 0; j < n; j++) {
        l[j * n + j] = 1.0 / l[j * n + j];
        for (int64_t i = j + 1; i < n; i++) {
            double sum = 0.0;
            for (int64_t k = j; k < i; k++) {
                sum -= l[i * n + k] * l[k * n + j];
            }
            l[i * n + j] = sum / l[i * n + i];
        }
    }
    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c <= r; c++) {
            double sum = 0.0;
            for (int64_t k = r; k < n; k++) {
                sum += l[k * n + r] * l[k * n + c];
            }
            out[r * n + c] = (float)sum;
            out[c * n + r] = (float)sum;
        }
    }
}

/* Pseudo-inverse of the symmetric m [n, n], destroyed, through its eigenvalues; those below n times
 * float's epsilon of the largest count as 0, as in torch.linalg.pinv. v is scratch. */
static void pseudo_invert(double *m, double *v, int64_t n, float *out)
{
    double largest = 0.0;
    memset(v, 0, (size_t)(n * n) * sizeof *v);
    for (int64_t i = 0; i < n; i++) {
        v[i * n + i] = 1.0;
        largest = fmax(largest, m[i * n + i]);
    }
    for (int sweep = 0; sweep < SWEEPS && off_diagonal(m, n) > 1e-30 * largest * largest; sweep++) {
        for (int64_t i = 0; i < n; i++) {
            for (int64_t j = i + 1; j < n; j++) {
                rotate(m, v, n, i, j);
            }
        }
    }
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, m[i * n + i]);
    }
    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c < n; c++) {
            double sum = 0.0;
            for (int64_t k = 0; k < n; k++) {
                const double value = m[k * n + k];
                sum += value > (double)n * 1.1920929e-7 * largest
                           ? v[r * n + k] * v[c * n + k] / value
                           : 0.0;
            }
            out[r * n + c] = (float)sum;
        }
    }
}

/* (A A^T + 1e-8)^+ of A [rank, in]. */
static void make_inverse(const struct optim_step *s, int64_t b)
{
    const struct param *e = &s->params->params[b];
    const int64_t a = partner(s->params, b);
    const int64_t rank = e->shape[1];
    const int64_t in = s->params->params[a].shape[1];
    const float *value = param_value(s->params, a);
    double *product = s->params->workspace;
    for (int64_t r = 0; r < rank; r++) {
        for (int64_t c = 0; c <= r; c++) {
            double sum = r == c ? 1e-8 : 0.0;
            for (int64_t k = 0; k < in; k++) {
                sum += (double)value[r * in + k] * (double)value[c * in + k];
            }
            product[r * rank + c] = sum;
            product[c * rank + r] = sum;
        }
    }
    double *scratch = product + rank * rank;
    if (factorize(product, scratch, rank)) {
        invert_factor(scratch, rank, e->slot[4].data);
    } else {
        pseudo_invert(product, scratch, rank, e->slot[4].data);
    }
}

/* The workspace's floats = grad_b inverse / scale^2; the inverse is symmetric. */
static float *project(const struct optim_step *s, int64_t b)
{
    const struct param *e = &s->params->params[b];
    const int64_t rank = e->shape[1];
    float *out = (float *)((double *)s->params->workspace + 2 * rank * rank);
    const struct tensor inverse = {.dtype = DTYPE_F32,
                                   .dims = 2,
                                   .shape = {rank, rank},
                                   .row_bytes = (size_t)rank * sizeof(float),
                                   .data = e->slot[4].data};
    const struct gemm_args product = {
        .x = param_grad(s->params, b),
        .ldx = rank,
        .m = e->shape[0],
        .w = &inverse,
        .n = rank,
        .y = out,
        .ldy = rank,
        .alpha = (float)(1.0 / (e->scale * e->scale)),
    };
    s->ops->ops->gemm(s->ops, &product);
    return out;
}

void lora_fa_update(const struct optim_step *s)
{
    const struct optim_config *c = s->config;
    const double root = sqrt(1.0 - pow(c->beta2, (double)s->step));
    for (int64_t i = 0; i < s->params->count; i++) {
        const struct param *e = &s->params->params[i];
        struct update_args a = {
            .rule = UPDATE_ADAMW,
            .lr = optim_lr(s, e),
            .beta1 = c->beta1,
            .beta2 = c->beta2,
            .eps = c->eps / root, /* PEFT adds it to the uncorrected root */
            .weight_decay = optim_decay(s, e),
            .decay_last = true,
        };
        if (e->frozen) {
            continue;
        }
        a.g = param_grad(s->params, i);
        if (is_part(e, PART_B)) {
            if (s->step == 1) {
                make_inverse(s, i);
            }
            a.g = project(s, i);
        }
        optim_update_run(s, i, e->count, &a);
    }
}
