{#- A dataset that dbt makes has the label that says whose it is (core/ownership.py). The platform's
    own builds find theirs made. -#}
{% macro bigquery__create_schema(relation) -%}
    {%- call statement('create_schema') -%}
        create schema if not exists {{ relation.without_identifier() }}
        options (labels = [('managed_by', 'data-pipelines')])
    {%- endcall -%}
{%- endmacro %}
