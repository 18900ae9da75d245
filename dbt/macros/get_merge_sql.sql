{#- The adapter's own merge, except that `incremental_predicates` may hold Jinja that is rendered
    when the statement is. Otherwise they are fixed at parsing, when no query can be asked, and
    cannot hold constants that follow the data. -#}
{% macro bigquery__get_merge_sql(
    target, source, unique_key, dest_columns, incremental_predicates=none
) -%}
    {%- set rendered = [] -%}
    {%- for predicate in incremental_predicates or [] -%}
        {%- do rendered.append(render(predicate) | trim) -%}
    {%- endfor -%}
    {{ dbt.default__get_merge_sql(target, source, unique_key, dest_columns, rendered) }}
{%- endmacro %}
