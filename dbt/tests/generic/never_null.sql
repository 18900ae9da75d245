{#- Fails with the column's name and the key of each row in which one of the columns is null. One
    query for all of them: each by itself is billed as a whole table. -#}
{% test never_null(model, columns, key) %}
    select
        null_column,
        {{ key }},
        1 as n_records,
    from {{ model }}
    cross join
        unnest([
            {%- for column in columns %}
            if({{ column }} is null, '{{ column }}', null){{ ',' if not loop.last }}
            {%- endfor %}
        ]) as null_column
    where null_column is not null
{% endtest %}
