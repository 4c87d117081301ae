"""The mutants that `mutants.py` tries: plausible mistakes, each of which changes a number."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One change of the code, and the tests that should notice it.

    Attributes:
      name: Name of the mutant.
      definition: Class or function whose text is changed, by its name or the last parts of its
        qualified name; or several names, where code is one or the other. The text must stand there once, over
        all of them.
      old: Text that is changed, which may be cut into lines elsewhere than in the code; or several, where
        the code has one or the other.
      new: Text in its place, or several, one for each text of `old`.
      tests: Names of test functions, a case of a parametrized one as "test_name[case]"; those that a checkout
        lacks are left out.
      slow: Whether a test is marked as slow.
    """

    name: str
    definition: str | tuple[str, ...]
    old: str | tuple[str, ...]
    new: str | tuple[str, ...]
    tests: tuple[str, ...]
    slow: bool = False


MUTANTS = [
    # ---- objectives
    Mutant(
        "iwae_log_k", "iwae", "- np.log(num_samples)", "", ("test_bounds_lie_below_the_marginal_in_order",)
    ),
    Mutant(
        "elbo_beta",
        "elbo",
        "- beta * tfd.kl_divergence",
        "- tfd.kl_divergence",
        ("test_beta_weighs_the_rate_alone",),
    ),
    Mutant(
        "beta_prior_alone",
        "weighted",
        "beta * (self.log_prior - self.log_posterior)",
        "beta * self.log_prior - self.log_posterior",
        ("test_beta_weighs_the_rate_alone",),
    ),
    Mutant(
        "elbo_kl_twice",
        "elbo",
        "tf.reduce_mean(terms.log_likelihood, axis=0) -",
        "tf.reduce_mean(terms.log_weights, axis=0) -",
        ("test_analytic_kl_option_changes_the_estimator_and_not_the_mean",),
    ),
    Mutant(
        "stl_score",
        "stl",
        "path=tf.identity",
        "path=None",
        ("test_stl_gradient_is_zero_at_the_exact_posterior",),
    ),
    Mutant(
        "dreg_weights",
        "dreg",
        "tf.nn.softmax(log_w, axis=0)",
        "tf.ones_like(log_w)",
        ("test_encoder_gradient_is_the_formula",),
    ),
    Mutant(
        "chi_exponent",
        "chi",
        "tf.nn.log_softmax(order * log_w, axis=0)",
        "tf.nn.log_softmax(log_w, axis=0)",
        ("test_encoder_gradient_is_the_formula",),
    ),
    Mutant(
        "renyi_exponent",
        "renyi",
        "(1 - alpha) * log_w",
        "alpha * log_w",
        ("test_renyi_is_the_hand_written_one",),
    ),
    Mutant(
        "free_bits_minimum",
        "free_bits",
        "> free, rates, free",
        "< free, rates, free",
        ("test_free_bits_is_the_hand_written_one",),
    ),
    Mutant(
        "free_bits_per_vector",
        "free_bits",
        "free_bits * terms.z.shape[-1] / rates.shape[-1]",
        "free_bits",
        ("test_free_bits_of_dependent_coordinates_are_shared",),
    ),
    Mutant(
        "beta_tc_beta",
        "beta_tc",
        "(beta - 1) * correlation",
        "beta * correlation",
        ("test_beta_tc_with_beta_one_is_the_elbo",),
    ),
    Mutant(
        "mmd_same_seed",
        "mmd",
        "seed=fold_in(seed, 1)",
        "seed=(0, seed) if isinstance(seed, int) else seed",
        ("test_mmd_is_zero_in_the_mean_at_the_exact_posterior",),
    ),
    Mutant(
        "warmup_off_by_one",
        "linear",
        "step / _checked(steps)",
        "(step + 1) / _checked(steps)",
        ("test_warmup",),
    ),
    # ---- gradients and the aggregate posterior
    Mutant(
        "path_score",
        "path_log_prob",
        "return tf.stop_gradient(log_prob) +",
        "return log_prob +",
        ("test_path_log_prob_is_log_prob_with_the_gradient_of_z_alone[diagonal]",),
    ),
    Mutant(
        "tc_axis",
        "total_correlation",
        "log_joint + log_weights, axis=2",
        "log_joint + log_weights, axis=1",
        ("test_total_correlation_is_the_hand_written_one",),
    ),
    Mutant(
        "tc_sign",
        "total_correlation",
        "log_q - tf.reduce_sum(log_q_each, axis=-1)",
        "tf.reduce_sum(log_q_each, axis=-1) - log_q",
        ("test_total_correlation_is_the_hand_written_one",),
    ),
    Mutant(
        "tc_own_weight",
        "_stratified_weights",
        "1 / tf.maximum(b, float(num_examples or 0))",
        "1 / b",
        ("test_density_from_a_batch_is_unbiased",),
    ),
    Mutant(
        "mmd_bias",
        "squared_mmd",
        "(tf.reduce_sum(kernel.matrix(a, a), axis=-1) - 1) / tf.maximum(b - 1, 1)",
        "tf.reduce_sum(kernel.matrix(a, a), axis=-1) / b",
        ("test_squared_mmd_is_unbiased",),
    ),
    Mutant(
        "mmd_bandwidth",
        "squared_mmd",
        "np.sqrt(z.shape[-1])",
        "z.shape[-1]",
        ("test_squared_mmd_is_the_hand_written_one",),
    ),
    # ---- posteriors, priors and flows
    Mutant(
        "log_variance",
        "_loc_scale_rest",
        "tf.exp(log_variance / 2)",
        "tf.exp(log_variance)",
        ("test_diagonal_is_mean_and_log_variance",),
    ),
    Mutant(
        "low_rank_scale",
        "low_rank",
        "(loc, scale**2,",
        "(loc, scale,",
        ("test_reduces_to_the_diagonal_posterior[low_rank]",),
    ),
    Mutant(
        "mixture_weights",
        "NormalMixture._log_prob",
        "tf.math.log_softmax(self.mixture_distribution.logits_parameter())",
        "self.mixture_distribution.logits_parameter()",
        ("test_log_prob_is_written_out[mixture-2]",),
    ),
    Mutant(
        "mixture_jacobian",
        "NormalMixture._log_prob",
        "- tf.math.log(scale)",
        "",
        ("test_log_prob_is_written_out[mixture-2]",),
    ),
    Mutant(
        "flow_jacobian",
        "_forward_log_det_jacobian",
        ("tf.reduce_sum(self._evaluate(x)[1], axis=-1)", "tf.reduce_sum(self._found(x)[1], axis=-1)"),
        ("tf.reduce_mean(self._evaluate(x)[1], axis=-1)", "tf.reduce_mean(self._found(x)[1], axis=-1)"),
        ("test_steps_are_invertible_and_know_their_determinant",),
    ),
    Mutant(
        "coupling_jacobian",
        "CouplingStep._inverse",
        "transform.forward(changed)[1]",
        "-transform.forward(changed)[1]",
        ("test_steps_are_invertible_and_know_their_determinant",),
    ),
    Mutant(
        "flow_mirror", "_moment_sample", "2 * self.distribution.mean() - x", "-x", ("test_moments_of_a_flow",)
    ),
    Mutant(
        "iaf_gate",
        "gated",
        "tf.sigmoid(-r) * m",
        "m",
        (
            "test_transforms",
            "test_gated_is_the_formula",
        ),
    ),
    Mutant(
        "spline_slope",
        "spline",
        "2 * tf.math.log(s / below)",
        "tf.math.log(s / below)",
        ("test_spline_is_tfps",),
    ),
    # ---- likelihoods
    Mutant(
        "bernoulli_normalizer",
        "Bernoulli._log_prob",
        "tf.nn.softplus(logits)",
        "tf.nn.softplus(-logits)",
        ("test_log_prob_is_the_hand_written_one[bernoulli]",),
    ),
    Mutant(
        "categorical_mean",
        "_probs_parameter_no_checks",
        "tf.nn.log_softmax(self.logits_parameter())",
        "self.logits_parameter()",
        ("test_draws_have_the_log_prob_and_the_mean[categorical]",),
    ),
    Mutant(
        "negative_binomial_mean",
        "negative_binomial",
        "logits=log_mean - log_count",
        "logits=log_mean",
        ("test_log_prob_is_the_hand_written_one[negative_binomial]",),
    ),
    Mutant(
        "poisson_stirling",
        "Poisson._log_prob",
        "tf.math.log(2 * np.pi * large) / 2",
        "tf.math.log(2 * np.pi * large)",
        ("test_large_counts_keep_their_digits",),
    ),
    Mutant(
        "shared_scale_start",
        "SharedScaleNormal.__init__",
        (
            "np.log(np.expm1(1 - elementwise.SCALE_FLOOR))",
            "np.log(np.expm1(1 - values.SCALE_FLOOR))",
        ),
        ("0.0", "0.0"),
        (
            "test_shared_scale_is_trained",
            "test_log_prob_is_the_hand_written_one[normal_shared]",
        ),
    ),
    Mutant(
        "logistic_width",
        "DiscretizedLogistic._log_prob",
        "2 / (top * self.scale)",
        "1 / (top * self.scale)",
        ("test_normalized[discretized_logistic]",),
    ),
    Mutant(
        "logistic_tail",
        "DiscretizedLogistic._log_prob",
        "tf.where(level < 0.5, 0.0, tf.math.log_sigmoid(-low))",
        "tf.math.log_sigmoid(-low)",
        ("test_normalized[discretized_logistic]",),
    ),
    Mutant(
        "pixel_scale",
        "PixelLogistic._channel",
        "(2 * earlier[i] - 1)",
        "earlier[i]",
        ("test_colour_pixel_is_the_hand_written_one_and_normalized",),
    ),
    Mutant("pixel_nodes", "_nodes", "weight / 2", "weight", ("test_colour_mean_is_within_a_grey_level",)),
    Mutant(
        "columns_order",
        "Columns.__init__",
        "np.argsort(np.concatenate(self.places))",
        "np.concatenate(self.places)",
        (
            "test_every_column_has_its_own_parameters",
            "test_columns_stand_in_their_places",
        ),
    ),
    Mutant(
        "missing_mask",
        ("Seen._log_prob", "SeenValues._log_prob"),
        "tf.where(missing, 0.0, log_prob)",
        "tf.where(missing, log_prob, 0.0)",
        ("test_sums_over_what_was_seen",),
    ),
    Mutant(
        "encoder_mask",
        "encoder_inputs",
        "1 - tf.cast(missing, x.dtype)",
        "tf.cast(missing, x.dtype)",
        ("test_encoder_sees_zeros_and_the_mask",),
    ),
    # ---- spheres
    Mutant(
        "radial_jacobian",
        "Radial._log_prob",
        "(self.event_shape[-1] - 1) * tf.math.log(length)",
        "self.event_shape[-1] * tf.math.log(length)",
        ("test_a_uniform_direction_of_a_normals_length_is_a_unit_normal",),
    ),
    Mutant(
        "sphere_angle",
        "angle_slope",
        "(size - 2) *",
        "(size - 1) *",
        ("test_angle_slope_keeps_the_level_of_the_distribution_function",),
    ),
    # ---- hierarchies, conditional models, M2
    Mutant(
        "ladder_prior_at_zero",
        "LadderPosterior._new",
        "self.prior.conditionals[k - 1](z)",
        "self.prior.conditionals[k - 1](tf.zeros_like(z))",
        ("test_log_prob_is_the_sum_of_normal_densities",),
    ),
    Mutant(
        "ladder_weight",
        "combine",
        "tf.square(p_scale / length)",
        "tf.square(d_scale / length)",
        ("test_combination_is_the_product_of_two_normals",),
    ),
    Mutant(
        "chain_total_variance",
        "Chain._moments",
        "+ tf.math.reduce_variance(loc, axis=0)",
        "",
        ("test_mean_and_stddev",),
    ),
    Mutant(
        "class_prior_dropped",
        "log_joint_of_classes",
        "for column in columns], axis=1) + log_prior",
        "for column in columns], axis=1)",
        ("test_every_stage_of_classes",),
        True,
    ),
    Mutant(
        "class_prior",
        "log_probabilities",
        "tf.nn.log_softmax(contexts.logits_parameter())",
        "contexts.logits_parameter()",
        (
            "test_the_objective_is_the_enumeration_by_hand",
            "test_a_class_that_never_occurs_has_no_probability_and_spoils_nothing",
        ),
    ),
    Mutant("m2_alpha", "m2", "alpha * log_q", "log_q", ("test_the_objective_is_the_enumeration_by_hand",)),
    Mutant(
        "m2_entropy", "m2", "(log_p - log_q)", "log_p", ("test_the_objective_is_the_enumeration_by_hand",)
    ),
    Mutant(
        "m2_weight",
        "classification_weight",
        "STRENGTH / labelled",
        "STRENGTH * labelled",
        ("test_classification_weight_is_the_papers",),
    ),
    # ---- evaluation
    Mutant(
        "error_of_mean",
        "error_of_mean",
        ("/ np.sqrt(k)", "/ math.sqrt(len(values))"),
        ("/ k", "/ len(values)"),
        ("test_summary_by_hand",),
    ),
    Mutant(
        "importance_ess",
        "summarize",
        "k / np.mean(relative**2, axis=0)",
        "k / np.mean(relative, axis=0) ** 2",
        ("test_summary_by_hand",),
    ),
    Mutant(
        "importance_groups",
        "_grouped",
        "log_w[: groups * n].reshape(groups, n, -1), 1, 0)",
        "log_w[: groups * n].reshape(groups, n, -1), 0, 0)",
        ("test_bound_grows_with_k_towards_the_truth",),
    ),
    Mutant(
        "pareto_tail",
        "pareto_k",
        "psislw(-column",
        "psislw(column",
        ("test_pareto_k_tells_light_tails_from_heavy_ones",),
    ),
    Mutant(
        "pareto_threshold",
        "reliable_pareto_k",
        "return min(",
        "return max(",
        ("test_importance_weights_that_few_draws_dominate",),
    ),
    Mutant(
        "mean_ddof",
        "mean_estimate",
        ("np.std(values, ddof=1", "estimate(np.asarray(values, np.float64))"),
        ("np.std(values, ddof=0", "(float(np.mean(values)), float(np.std(values) / np.sqrt(n)))"),
        ("test_mean_estimate_by_hand",),
    ),
    Mutant(
        "monte_carlo_error",
        "mean_estimate",
        "np.sum(np.square(errors, dtype=np.float64))) / n",
        "np.sum(np.square(errors, dtype=np.float64)) / n)",
        ("test_mean_estimate_by_hand",),
    ),
    Mutant(
        "unpaired",
        "paired_difference",
        ("difference.std(ddof=1)", "estimate(difference)"),
        (
            "np.hypot(first.std(ddof=1), second.std(ddof=1))",
            "estimate(difference)[0], np.hypot(*(estimate(a)[1] for a in (first, second)))",
        ),
        ("test_intervals_of_a_paired_difference_cover",),
    ),
    Mutant(
        "difference_ddof",
        "paired_difference",
        ("difference.std(ddof=1)", "estimate(difference)"),
        ("difference.std()", "difference.mean(), difference.std() / len(difference) ** 0.5"),
        ("test_difference_by_hand", "test_intervals_of_a_paired_difference_cover"),
    ),
    Mutant(
        "bits",
        "bits_per_dimension",
        "(math.prod(event_shape) * math.log(2))",
        "math.prod(event_shape)",
        ("test_bits_per_dimension",),
    ),
    Mutant(
        "rate_distortion",
        "rate_distortion",
        "(rate, distortion), (rate_error",
        "(distortion, rate), (rate_error",
        ("test_rate_is_exact_and_the_parts_add_up_to_the_marginal",),
    ),
    Mutant(
        "kl_arguments",
        "kl_per_dimension",
        "tfd.kl_divergence(q, prior)",
        "tfd.kl_divergence(prior, q)",
        ("test_kl_per_dimension_of_a_diagonal_posterior",),
    ),
    Mutant(
        "active_units_noise",
        "active_units",
        "- (0 if exact",
        "+ (0 if exact",
        ("test_active_units_from_samples_are_not_active_by_their_noise",),
    ),
    Mutant(
        "aggregate_own_term",
        "aggregate_posterior",
        "np.logaddexp(others, own)",
        "others",
        ("test_aggregate_posterior_is_the_one_by_hand",),
    ),
    Mutant(
        "quadrature_volume",
        "exact",
        "np.log(grid.spacing(level)).sum()",
        "np.log(grid.spacing(level)).mean()",
        ("test_quadrature_is_the_closed_form",),
    ),
    Mutant(
        "quadrature_bernoulli",
        "_by_product",
        "at_zero = -tf.reduce_sum",
        "at_zero = -tf.reduce_mean",
        ("test_constant_bernoulli_has_the_bernoullis_own_probability",),
    ),
    Mutant(
        "annealing_ends",
        "sigmoidal_schedule",
        "(raw - raw[0]) / (raw[-1] - raw[0])",
        "raw",
        ("test_schedule",),
    ),
    Mutant(
        "annealing_path",
        "_Path.log_prob",
        "(1 - beta) * self.start.log_prob(z)",
        "self.start.log_prob(z)",
        ("test_one_step_is_importance_sampling_from_the_prior", "test_ais_is_near_the_exact_value"),
    ),
    Mutant(
        "annealing_temper",
        "_Path.temper",
        "(f - (1 - beta) * r)",
        "(f - beta * r)",
        ("test_tempering_needs_no_decoder",),
    ),
    Mutant("reverse_sign", "_reverse", "return -log_w,", "return log_w,", ("test_bracket_holds_the_truth",)),
    Mutant(
        "acceptance_sign",
        "acceptance_probability",
        "tf.minimum(log_accept_ratio, 0.0)",
        "tf.minimum(-log_accept_ratio, 0.0)",
        ("test_acceptance_probability_of_a_divergence_is_zero",),
    ),
    Mutant(
        "rhat_root",
        "_rhat",
        "np.sqrt(tfp.mcmc.potential_scale_reduction(z.astype(np.float64), split_chains=True).numpy())",
        "tfp.mcmc.potential_scale_reduction(z.astype(np.float64), split_chains=True).numpy()",
        ("test_rhat_and_ess_see_chains_that_disagree",),
    ),
    Mutant(
        "amortization_sign",
        "decompose",
        "optimized.elbo - optimized.amortized_elbo",
        "optimized.amortized_elbo - optimized.elbo",
        ("test_gaps_add_up_and_no_posterior_gets_worse",),
    ),
    Mutant(
        "gain_unpaired",
        "optimize_posteriors",
        "error_of_mean(best - amortized)",
        "np.hypot(error_of_mean(best), error_of_mean(amortized))",
        ("test_gaps_add_up_and_no_posterior_gets_worse",),
    ),
    Mutant(
        "auroc_error",
        "auroc",
        "above.var(ddof=1) / m + below.var(ddof=1) / n",
        "above.var(ddof=1) / n + below.var(ddof=1) / m",
        ("test_auroc_with_ties_and_infinities_is_the_share_of_pairs",),
    ),
    Mutant(
        "classes_order",
        "exact_given",
        ("for part in found])[order]", "for part in parts])[order]"),
        ("for part in found])", "for part in parts])"),
        ("test_quadrature_and_hmc_take_joined_examples",),
        True,
    ),
    # ---- draws
    Mutant(
        "slerp_angle",
        "spherical",
        "np.arctan2(sine, cosine)",
        "np.arctan2(cosine, sine)",
        ("test_spherical_is_slerp_where_the_norms_are_equal",),
    ),
    Mutant(
        "temperature_variance",
        "_normal",
        "temperature * distribution.scale",
        "temperature**0.5 * distribution.scale",
        ("test_the_temperature_of_a_normal_scales_its_deviation",),
    ),
    Mutant(
        "sampler_weights",
        "as_mixture",
        "np.log(np.maximum(weights, 1e-30))",
        "np.maximum(weights, 1e-30)",
        ("test_the_mixture_is_scikit_learns",),
    ),
    Mutant(
        "sampler_held_out",
        "fit_sampler",
        "(order[held_out:], order[:held_out])",
        "(order, order[:held_out])",
        (
            "test_the_number_of_components_is_chosen_on_held_out_draws",
            "test_draws_of_the_held_out_tenth_are_not_fitted",
        ),
    ),
    Mutant(
        "closeness_error",
        "closeness",
        ("/ math.sqrt(len(gain))", "gain, error = estimate(log_sampler - log_prior)"),
        (
            "/ len(gain)",
            "gain, error = estimate(log_sampler - log_prior); error /= len(log_prior) ** 0.5",
        ),
        (
            "test_a_sampler_comes_close_to_the_aggregate_posterior[mixture]",
            "test_the_gain_has_the_standard_error_of_its_mean",
        ),
    ),
    Mutant(
        "imputation_normalizer",
        "_Moments.result",
        "self.mean / total,",
        "self.mean / len(total),",
        ("test_mean_and_sd_are_those_of_the_conditional",),
    ),
    Mutant(
        "imputation_ess_chunks",
        "_Moments.add",
        "shrink**2 * self.squares",
        "shrink * self.squares",
        (
            "test_what_was_seen_stands",
            "test_blocks_and_seeds",
            "test_moments_of_chunks_are_those_of_all",
        ),
    ),
    Mutant(
        "imputation_redraw",
        "_compile",
        "log_w - tf.reduce_max(log_w, axis=0)",
        "0 * log_w",
        ("test_draws_are_those_of_the_conditional",),
    ),
    # ---- training and data
    Mutant(
        "adam_second_moment",
        "FusedAdam.update_step",
        "beta2_power=tf.pow(tf.cast(self.beta_2",
        "beta2_power=tf.pow(tf.cast(self.beta_1",
        ("test_the_fused_update_is_adams",),
    ),
    Mutant(
        "adam_epsilon",
        "FusedAdam.update_step",
        "tf.cast(self.epsilon,",
        "tf.cast(1000 * self.epsilon,",
        ("test_the_fused_update_is_adams",),
    ),
    Mutant(
        "schedule_end",
        ("exponential", "SCHEDULES"),
        "LAST_RATE)",
        "LAST_RATE**2)",
        ("test_schedules",),
    ),
    Mutant(
        "rate_warmup_off_by_one",
        "_Warmup.__call__",
        "(tf.cast(step, tf.float32) + 1)",
        "tf.cast(step, tf.float32)",
        ("test_schedules",),
    ),
    Mutant(
        "schedule_steps",
        "make_optimizer",
        "math.ceil(num_examples / training.batch_size)",
        "(num_examples // training.batch_size)",
        ("test_schedules",),
    ),
    Mutant(
        "objective_beta",
        "make_objective",
        "training.beta * (warmup",
        "1.0 * (warmup",
        ("test_beta_follows_the_steps_of_the_optimizer",),
    ),
    Mutant(
        "clip",
        ("compile_steps", "_clip"),
        "g * factor",
        "g",
        ("test_the_norm_is_cut_over_all_weights_and_counted",),
    ),
    Mutant(
        "step_seed",
        "_seeds",
        "fold_in(seed, step)",
        "fold_in(seed, 0)",
        ("test_compiled_steps_are_plain_gradient_steps",),
    ),
    Mutant(
        "loss_sum",
        ("compile_steps", "_Step._forward_and_back"),
        "mean = tf.reduce_mean(bound)",
        "mean = tf.reduce_sum(bound)",
        ("test_compiled_steps_are_plain_gradient_steps",),
    ),
    Mutant(
        "test_seed",
        "compile_test",
        "fold_in(fold_in(seed, -1), start)",
        "fold_in(seed, -1)",
        (
            "test_test_terms_repeat_and_do_not_depend_on_other_images",
            "test_parts_of_the_test_set_change_nothing",
        ),
    ),
    Mutant(
        "train_elbo",
        "Trainer._row",
        "tally.objective / tally.examples if tally.examples",
        "tally.objective / len(self.data.train) if tally.examples",
        ("test_should_stop_ends_at_a_step_with_a_row", "test_fit_learns_and_its_history_is_the_models"),
    ),
    Mutant(
        "epoch_order",
        "Trainer._pieces",
        ("epoch=self.epoch)", "epoch=epoch)"),
        ("epoch=0)", "epoch=0)"),
        (
            "test_each_epoch_has_an_order_of_its_own",
            "test_every_image_is_used_once_an_epoch",
        ),
    ),
    Mutant(
        "epoch_batches",
        ("epoch_batches", "epoch_order"),
        "[seed, 2, epoch]",
        "[seed, 2]",
        ("test_every_image_is_used_once_an_epoch",),
    ),
    Mutant(
        "best_epoch",
        "Trainer._close_epoch",
        ("row.validation_elbo > self.best_elbo", "row.validation_elbo > best_elbo"),
        ("row.validation_elbo >= -1e9", "row.validation_elbo >= -1e9"),
        ("test_patience_ends_a_training_and_the_best_weights_are_back",),
    ),
    Mutant(
        "resume_position",
        "Trainer.restore",
        ("state.stale, state.epoch, state.position", "dataclasses.replace(state,"),
        ("state.stale, state.epoch, 0", "dataclasses.replace(state, position=0,"),
        ("test_a_state_that_lacks_something_is_caught",),
    ),
    Mutant(
        "static_reversed",
        "_draw",
        "< grey",
        "> grey",
        ("test_static_is_drawn_once_and_dynamic_at_every_step",),
    ),
    Mutant(
        "dynamic_levels", "_redraw", "* levels < grey", "* 255 < grey", ("test_binary_images_pass_unchanged",)
    ),
    Mutant(
        "test_overlaps",
        ("held_out", "split_off"),
        "order[cut:], order[:cut]",
        "order, order[:cut]",
        ("test_splits_are_disjoint_repeatable_and_complete",),
    ),
    Mutant(
        "validation_overlaps",
        "validation_split",
        ("train[np.sort(order[cut:])]", "train[np.sort(rest)]"),
        ("train", "train"),
        ("test_splits_are_disjoint_repeatable_and_complete",),
    ),
    Mutant(
        "standardized_by_all",
        "read_table",
        "rows = take(x, train)",
        "rows = x",
        ("test_normal_columns_are_standardized_by_the_training_set_alone",),
    ),
    Mutant(
        "missing_text",
        "clean",
        "in missing else",
        "in ('',) else",
        ("test_words_for_missing_values",),
    ),
]
