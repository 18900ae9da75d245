{#- Fails with one row that holds both totals when the aggregate over the model is not that over
    another relation; null counts as zero. -#}
{% test same_total(model, expression, other, other_expression, other_where='true') %}
    select *
    from (
        select
            coalesce((select {{ expression }} from {{ model }}), 0) as total,
            coalesce(
                (select {{ other_expression }} from {{ other }} where {{ other_where }}), 0
            ) as other_total,
    ) as totals
    where total != other_total
{% endtest %}
