{#- Fails with the rows for which the expression is false. An expression that is null passes, as a
    check constraint does. -#}
{% test expression_is_true(model, expression) %}
    select *
    from {{ model }}
    where not ({{ expression }})
{% endtest %}
