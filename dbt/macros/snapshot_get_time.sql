{#- When a snapshot closes the rows that are gone. dbt takes the time of the run; a snapshot with
    `meta: {deleted_at: column}` takes the column's latest value instead, so that what left a list
    ends with the list that lacks it, whenever that list is built. An empty list ends nothing. -#}
{% macro bigquery__snapshot_get_time() -%}
    {%- set column = config.get('meta', {}).get('deleted_at') if model is defined else none -%}
    {%- if column -%}
        (select max({{ column }}) from ({{ model.compiled_code }}))
    {%- else -%}
        {{ current_timestamp() }}
    {%- endif -%}
{%- endmacro %}
